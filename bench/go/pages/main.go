// The banner page on Go's net/http: main PAGE.json PORT
package main

import (
	"encoding/json"
	"log"
	"math/rand"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

type attributes struct {
	Path     string `json:"path"`
	MaxAge   int    `json:"max_age"`
	HTTPOnly bool   `json:"httponly"`
}

type page struct {
	Path       string      `json:"path"`
	Headers    [][2]string `json:"headers"`
	Cookie     string      `json:"cookie"`
	Attributes attributes  `json:"attributes"`
	Values     []string    `json:"values"`
	Bodies     []string    `json:"bodies"`
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var p page
	if err := json.Unmarshal(text, &p); err != nil {
		log.Fatal(err)
	}
	bodies := make([][]byte, len(p.Bodies))
	indexes := make(map[string]int)
	for i, body := range p.Bodies {
		bodies[i] = []byte(body)
		indexes[p.Values[i]] = i
	}
	campaign, err := strconv.Atoi(strings.Split(p.Path, "/")[2])
	if err != nil {
		log.Fatal(err)
	}
	campaigns := map[int][][]byte{campaign: bodies}
	rand.Seed(time.Now().UnixNano())

	show := func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/campaigns/"), "/"))
		bodies, known := campaigns[id]
		if err != nil || !known {
			http.NotFound(w, r)
			return
		}
		index := rand.Intn(len(bodies))
		if cookie, err := r.Cookie(p.Cookie); err == nil && len(bodies) > 1 {
			if last, known := indexes[cookie.Value]; known {
				index = (last + 1 + rand.Intn(len(bodies)-1)) % len(bodies)
			}
		}
		header := w.Header()
		for _, each := range p.Headers {
			header.Set(each[0], each[1])
		}
		http.SetCookie(w, &http.Cookie{
			Name: p.Cookie, Value: p.Values[index], Path: p.Attributes.Path,
			MaxAge: p.Attributes.MaxAge, HttpOnly: p.Attributes.HTTPOnly,
			SameSite: http.SameSiteLaxMode,
		})
		w.Write(bodies[index])
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/campaigns/", show)
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(listener, mux))
}
