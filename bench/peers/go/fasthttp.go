//go:build fasthttp

// Go's fasthttp: what people take when net/http is too slow.  What it adds by
// itself (Server, Date) it adds here too.
package main

import (
	"flag"
	"log"
	"strings"
	"time"

	"github.com/valyala/fasthttp"
)

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

func main() {
	port := flag.Int("port", 8080, "port; 0: the kernel picks")
	flag.Parse()
	l := listen("fasthttp", *port)
	log.Fatal((&fasthttp.Server{Handler: answer}).Serve(l))
}
