// Taking events as Go does: net/http, and one goroutine that commits what has gathered.
package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"time"

	_ "github.com/mattn/go-sqlite3"
)

const tables = `
CREATE TABLE event (
    id INTEGER PRIMARY KEY, source INTEGER, app INTEGER, session TEXT, user INTEGER, category TEXT,
    name TEXT, at INTEGER, received INTEGER, sender TEXT, digest BLOB, data TEXT
) STRICT;
CREATE UNIQUE INDEX event_sender ON event (app, sender) WHERE sender IS NOT NULL;
CREATE INDEX event_session ON event (session, at);
CREATE INDEX event_type ON event (category, name, at);
CREATE INDEX event_at ON event (at);`

const insert = `INSERT INTO event (source, app, session, category, name, at, received, sender, data)
VALUES (1, 1, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`

type event struct {
	Session   string          `json:"session_id"`
	Category  string          `json:"category"`
	Name      string          `json:"name"`
	Data      json.RawMessage `json:"data"`
	Timestamp time.Time       `json:"timestamp"`
	Sender    *string         `json:"sender_id"`
}

type request struct {
	events []event
	done   chan error
}

func commit(database *sql.DB, waiting chan request) {
	statement, err := database.Prepare(insert)
	if err != nil {
		log.Fatal(err)
	}
	for first := range waiting {
		batch := []request{first}
	gather:
		for len(batch) < 512 {
			select {
			case next := <-waiting:
				batch = append(batch, next)
			default:
				break gather
			}
		}
		transaction, err := database.Begin()
		if err == nil {
			bound := transaction.Stmt(statement)
			for _, each := range batch {
				for _, e := range each.events {
					at := e.Timestamp.UnixMicro()
					if _, err = bound.Exec(e.Session, e.Category, e.Name, at, at, e.Sender, string(e.Data)); err != nil {
						break
					}
				}
			}
			if err == nil {
				err = transaction.Commit()
			} else {
				transaction.Rollback()
			}
		}
		for _, each := range batch {
			each.done <- err
		}
	}
}

func main() {
	database, err := sql.Open("sqlite3", os.Args[1]+"?_journal_mode=WAL&_synchronous=FULL")
	if err != nil {
		log.Fatal(err)
	}
	database.SetMaxOpenConns(1)
	if _, err = database.Exec(tables); err != nil {
		log.Fatal(err)
	}
	waiting := make(chan request, 4096)
	go commit(database, waiting)
	http.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		buffer := new(bytes.Buffer)
		if _, err := buffer.ReadFrom(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		decoder := json.NewDecoder(buffer)
		events := make([]event, 0, 1)
		for decoder.More() {
			var e event
			if err := decoder.Decode(&e); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			events = append(events, e)
		}
		each := request{events, make(chan error, 1)}
		waiting <- each
		if err := <-each.done; err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		w.Write([]byte(`{"id":"0000000000000000000"}`))
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[2], nil))
}
