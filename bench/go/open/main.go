// Requests at a fixed rate, whatever the server does: an open loop.
//
//	open ADDRESS RATE SECONDS CONNECTIONS FILE
//
// Each arrival has its moment, and takes the first connection that is free then. One that finds
// none for longer than a second is given up, and counted: a client would have gone. FILE holds
// requests, each after a line with its length in bytes; they are sent in turn. Prints one JSON
// object: how many answers were right (2xx, 3xx), 503, or something else, how many arrivals found
// no connection, and of those that were right the p50 and p99 in seconds, from the moment at which
// they were sent and (due) from that at which they were to be.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const patience = time.Second

var length = []byte("Content-Length: ")

func requests(path string) [][]byte {
	file, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	reader := bufio.NewReader(file)
	var found [][]byte
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return found
		}
		size, _ := strconv.Atoi(line[:len(line)-1])
		request := make([]byte, size)
		if _, err := io.ReadFull(reader, request); err != nil {
			panic(err)
		}
		found = append(found, request)
	}
}

// The status of the next answer, whose body is read past.
func answer(reader *bufio.Reader) (int, error) {
	status, size := 0, 0
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if status == 0 {
			status, _ = strconv.Atoi(string(line[9:12]))
		} else if bytes.HasPrefix(line, length) {
			size, _ = strconv.Atoi(string(bytes.TrimSpace(line[len(length):])))
		} else if len(line) <= 2 {
			_, err = reader.Discard(size)
			return status, err
		}
	}
}

type found struct {
	right, refused, other, lost int64
	sent, due                   []float64
}

func quantile(some []float64, part float64) float64 {
	if len(some) == 0 {
		return 0
	}
	sort.Float64s(some)
	return some[int(part*float64(len(some)-1))]
}

func main() {
	runtime.GOMAXPROCS(2) // on its one core: one to wait, one to work
	address := os.Args[1]
	rate, _ := strconv.ParseFloat(os.Args[2], 64)
	seconds, _ := strconv.ParseFloat(os.Args[3], 64)
	connections, _ := strconv.Atoi(os.Args[4])
	some := requests(os.Args[5])
	total := int64(rate * seconds)
	var next int64
	results := make([]found, connections)
	links := make([]net.Conn, connections)
	for number := range links {
		link, err := net.Dial("tcp", address)
		if err != nil {
			panic(err)
		}
		links[number] = link
	}
	begun := time.Now()
	var all sync.WaitGroup
	for number := range links {
		all.Add(1)
		go func(link net.Conn, mine *found) {
			defer all.Done()
			reader := bufio.NewReaderSize(link, 4096)
			for {
				turn := atomic.AddInt64(&next, 1) - 1
				if turn >= total {
					return
				}
				due := begun.Add(time.Duration(float64(turn) / rate * 1e9))
				if wait := time.Until(due); wait > 0 {
					time.Sleep(wait)
				} else if -wait > patience {
					mine.lost++
					continue
				}
				sent := time.Now()
				_, err := link.Write(some[turn%int64(len(some))])
				status := 0
				if err == nil {
					status, err = answer(reader)
				}
				if err != nil { // cut: a client would come again
					mine.other++
					link.Close()
					if link, err = net.Dial("tcp", address); err != nil {
						return
					}
					reader.Reset(link)
				} else if status < 400 {
					mine.right++
					mine.sent = append(mine.sent, time.Since(sent).Seconds())
					mine.due = append(mine.due, time.Since(due).Seconds())
				} else if status == 503 {
					mine.refused++
				} else {
					mine.other++
				}
			}
		}(links[number], &results[number])
	}
	all.Wait()
	took := time.Since(begun).Seconds()
	var sum found
	for _, each := range results {
		sum.right += each.right
		sum.refused += each.refused
		sum.other += each.other
		sum.lost += each.lost
		sum.sent = append(sum.sent, each.sent...)
		sum.due = append(sum.due, each.due...)
	}
	told, _ := json.Marshal(map[string]float64{
		"seconds": took, "right": float64(sum.right), "refused": float64(sum.refused),
		"other": float64(sum.other), "lost": float64(sum.lost),
		"p50": quantile(sum.sent, 0.5), "p99": quantile(sum.sent, 0.99),
		"due_p99": quantile(sum.due, 0.99),
	})
	fmt.Println(string(told))
}
