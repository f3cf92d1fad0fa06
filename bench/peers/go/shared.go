// Both of Go's servers beside the stages: nethttp.go, and with -tags fasthttp
// the other one.  They have the same routes and the same bodies.
//
// The runner sets GOMAXPROCS to the number of cpus and pins the process, so
// that the garbage collector and the network poller share the cpu with the
// handlers, as everything a stage does shares it too.
package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var hello = []byte("Hello, World!\n")

// micros reads the number in /work/US and /sleep/US.
func micros(path, prefix string) (time.Duration, bool) {
	n, err := strconv.Atoi(strings.TrimPrefix(path, prefix))
	if err != nil || n < 0 || n > 1000000 {
		return 0, false
	}
	return time.Duration(n) * time.Microsecond, true
}

func work(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
}

// listen says where it listens, in a line as a stage does; SIGTERM ends the
// process.
func listen(name string, port int) net.Listener {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		log.Fatal(err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		os.Exit(0)
	}()
	fmt.Printf("%s: listening on %s\n", name, l.Addr())
	return l
}
