// Centrifuge, the library that Centrifugo is made of, with what a server needs for a benchmark: everybody may connect and
// subscribe, POST /publish publishes a line for each event, `channel payload`. Nothing is logged; no history is kept.
package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/ioutil"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/centrifugal/centrifuge"
)

const frame = `{"type":"event","channels":["%s"],"event":{"id":1234,"type":"rowcast.bench","payload":%s,"createdAt":"2026-01-01T00:00:00.000Z"},"cursor":"AgFCxddp3QUAAPrJ"}`

func main() {
	config := centrifuge.DefaultConfig
	// As for the others: what a slow client may have waiting.
	config.ClientQueueMaxSize = 64 << 20
	// Presence is off; a timer for each client would only cost.
	config.ClientPresenceUpdateInterval = time.Hour
	node, err := centrifuge.New(config)
	if err != nil {
		log.Fatal(err)
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{UserID: "1"}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(_ centrifuge.SubscribeEvent, callback centrifuge.SubscribeCallback) {
			callback(centrifuge.SubscribeReply{}, nil)
		})
	})
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}
	// The pool of buffers is its documentation's advice for many clients. Pings are rare: none falls into a measurement.
	http.Handle("/connection/websocket", centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		UseWriteBufferPool: true,
		PingInterval:       time.Hour,
	}))
	http.HandleFunc("/publish", func(response http.ResponseWriter, request *http.Request) {
		body, err := ioutil.ReadAll(request.Body)
		if err != nil {
			http.Error(response, err.Error(), http.StatusBadRequest)
			return
		}
		lines := bufio.NewScanner(bytes.NewReader(body))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			parts := bytes.SplitN(lines.Bytes(), []byte(" "), 2)
			if len(parts) != 2 {
				continue
			}
			data := []byte(fmt.Sprintf(frame, parts[0], parts[1]))
			if _, err := node.Publish(string(parts[0]), data); err != nil {
				http.Error(response, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		response.WriteHeader(http.StatusNoContent)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
