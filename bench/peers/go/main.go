// Go's net/http beside the stages: the same routes, the same bodies.
//
// The runner sets GOMAXPROCS to the number of cpus and pins the process, so
// that the garbage collector and the network poller share the cpu with the
// handlers, as everything a stage does shares it too.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var hello = []byte("Hello, World!\n")

// reply sets the type itself: net/http would otherwise sniff the body of
// every answer, which the stages do not do.
func reply(w http.ResponseWriter, body []byte) {
	h := w.Header()
	h["Content-Type"] = []string{"text/plain"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.Write(body)
}

func root(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	reply(w, hello)
}

// micros reads the number in /work/US and /sleep/US.
func micros(r *http.Request, prefix string) (time.Duration, bool) {
	n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, prefix))
	if err != nil || n < 0 || n > 1000000 {
		return 0, false
	}
	return time.Duration(n) * time.Microsecond, true
}

func work(w http.ResponseWriter, r *http.Request) {
	d, ok := micros(r, "/work/")
	if !ok {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
	reply(w, hello)
}

func sleep(w http.ResponseWriter, r *http.Request) {
	d, ok := micros(r, "/sleep/")
	if !ok {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	time.Sleep(d)
	reply(w, hello)
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, "Content Too Large", http.StatusRequestEntityTooLarge)
		return
	}
	if t := r.Header.Get("Content-Type"); t != "" {
		w.Header().Set("Content-Type", t)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

func main() {
	port := flag.Int("port", 8080, "port; 0: the kernel picks")
	files := flag.String("root", "", "directory behind /files/")
	flag.Parse()

	mux := http.NewServeMux()
	mux.HandleFunc("/", root)
	mux.HandleFunc("/work/", work)
	mux.HandleFunc("/sleep/", sleep)
	mux.HandleFunc("/echo", echo)
	if *files != "" {
		dir := http.FileServer(http.Dir(*files))
		mux.Handle("/files/", http.StripPrefix("/files/", dir))
	}
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
	fmt.Printf("go: listening on %s\n", l.Addr())
	log.Fatal(http.Serve(l, mux))
}
