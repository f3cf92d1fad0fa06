//go:build !fasthttp

// Go's net/http.
package main

import (
	"flag"
	"io"
	"log"
	"net/http"
	"strconv"
	"time"
)

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

// after waits for the time in the path, then answers.
func after(prefix string, wait func(time.Duration)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		d, ok := micros(r.URL.Path, prefix)
		if !ok {
			http.Error(w, "Bad Request", http.StatusBadRequest)
			return
		}
		wait(d)
		reply(w, hello)
	}
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
	mux.HandleFunc("/work/", after("/work/", work))
	mux.HandleFunc("/sleep/", after("/sleep/", time.Sleep))
	mux.HandleFunc("/echo", echo)
	if *files != "" {
		dir := http.FileServer(http.Dir(*files))
		mux.Handle("/files/", http.StripPrefix("/files/", dir))
	}
	log.Fatal(http.Serve(listen("go", *port), mux))
}
