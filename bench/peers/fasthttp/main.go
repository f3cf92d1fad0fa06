// Go's fasthttp beside the stages: what people take when net/http is too slow.
//
// The runner sets GOMAXPROCS and pins the process, as it does with net/http.
// What fasthttp adds by itself (Server, Date) it adds here too.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"
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

func answer(ctx *fasthttp.RequestCtx) {
	path := string(ctx.Path())
	if path != "/" {
		prefix, wait := "/work/", work
		if strings.HasPrefix(path, "/sleep/") {
			prefix, wait = "/sleep/", time.Sleep
		} else if !strings.HasPrefix(path, "/work/") {
			ctx.Error("Not Found", fasthttp.StatusNotFound)
			return
		}
		d, ok := micros(path, prefix)
		if !ok {
			ctx.Error("Bad Request", fasthttp.StatusBadRequest)
			return
		}
		wait(d)
	}
	ctx.SetContentType("text/plain")
	ctx.SetBody(hello)
}

func work(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
}

func main() {
	port := flag.Int("port", 8080, "port; 0: the kernel picks")
	flag.Parse()
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		os.Exit(0)
	}()
	fmt.Printf("fasthttp: listening on %s\n", l.Addr())
	log.Fatal((&fasthttp.Server{Handler: answer}).Serve(l))
}
