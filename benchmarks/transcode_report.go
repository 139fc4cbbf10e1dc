package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// transcodeOrder is the message in JSON, as the mapping of protobuf writes it.
type transcodeOrder struct {
	ID         string            `json:"id"`
	CustomerID string            `json:"customerId"`
	CreatedAt  string            `json:"createdAt"`
	Status     string            `json:"status"`
	Items      []transcodeItem   `json:"items"`
	ShipTo     map[string]string `json:"shipTo"`
	Labels     map[string]string `json:"labels"`
	TotalCents string            `json:"totalCents"`
	WeightKg   float64           `json:"weightKg"`
	Paid       bool              `json:"paid"`
	Signature  []byte            `json:"signature"`
	Note       string            `json:"note"`
}

// transcodeItem leaves out what has no value, as the answers do.
type transcodeItem struct {
	SKU        string  `json:"sku"`
	Title      string  `json:"title"`
	Quantity   int     `json:"quantity"`
	PriceCents string  `json:"priceCents"`
	WeightKg   float64 `json:"weightKg,omitempty"`
	Gift       bool    `json:"gift,omitempty"`
	Bins       []int   `json:"bins"`
}

func newTranscodeOrder(items int) *transcodeOrder {
	o := &transcodeOrder{
		ID: "ord_01HZX3V9Q2", CustomerID: "cus_8842", CreatedAt: "2024-05-31T16:01:57.250Z", Status: "SHIPPED",
		ShipTo: map[string]string{"street": "Grubenweg 7", "city": "Zürich", "postalCode": "8005", "country": "CH"},
		Labels: map[string]string{"channel": "web", "campaign": "summer", "tenant": "blue"}, TotalCents: "129900", WeightKg: 12.75, Paid: true,
		Signature: []byte("0123456789abcdef0123456789abcdef"), Note: "Please ring twice, \"quietly\".\nThank you.",
	}
	for i := range items {
		o.Items = append(o.Items, transcodeItem{
			SKU: fmt.Sprintf("SKU-%06d", i), Title: "Miner's lamp, brass, " + strings.Repeat("very ", i%5) + "bright", Quantity: i%9 + 1,
			PriceCents: fmt.Sprint(1999 + i*7), WeightKg: 0.25 * float64(i%7), Gift: i%3 == 0, Bins: []int{1, 2, i},
		})
	}
	return o
}

// transcodeRatios are grpc-gateway's CPU time for a request to Pithead's, round by round.
func transcodeRatios(all transcodeResults, name string) []float64 {
	own, other := all["pithead"][name], all["grpc-gateway"][name]
	ratios := make([]float64, len(own))
	for i := range own {
		ratios[i] = float64(other[i].cpu) / float64(own[i].cpu)
	}
	return ratios
}

const transcodeMethod = `- Both stand before the same gRPC service (grpc-go), which answers with the order that it was sent, so each request is translated both ways. The service is the one in ` + "`benchmarks/peers/grpc-gateway/orders.proto`" + `; grpc-gateway is the code that its plug-in generates from that file, Pithead reads the file when it starts.
- The gateway has core 0 to itself; service and clients share core 1. Clients are HTTP/1.1 connections that ask again as soon as they have the answer. CPU is what the kernel charges to the process of the gateway during the measured time.
- In each round either gateway is started, asked once (the answer must be the order that was sent), measured, and stopped; the next round begins with the other. Ratios are taken within a round: above 1, Pithead serves more requests in a CPU second.
- grpc-gateway is here a program that does nothing else: no log, no metrics, no checks of requests beyond Go's. Two of its settings are not the defaults, and both spare it work: answers have a length, and fields without a value are left out, as Pithead leaves them out. Pithead has its metrics and its checks, and no access log.
`

func writeTranscode(w io.Writer, o runOptions, all transcodeResults) {
	fmt.Fprintf(w, "# Transcoding beside grpc-gateway\n\nWritten by `make bench-transcode` on %s.\n\n", time.Now().UTC().Format(time.DateOnly))
	fmt.Fprintf(w, "- Machine: %s, two cores of it, Linux %s, %s. %d rounds of %v after %v.\n", cpuModel(), kernel(), runtime.GOARCH, o.rounds, o.time, o.warm)
	fmt.Fprintf(w, "- Pithead of this repository, grpc-gateway as `benchmarks/peers/grpc-gateway/go.mod` pins it, both built with %s.\n%s\n", runtime.Version(), transcodeMethod)
	if busy, err := os.ReadFile("/proc/loadavg"); err == nil {
		fmt.Fprintf(w, "Load averages of the machine at the end, other work included: %s.\n\n", strings.Join(strings.Fields(string(busy))[:3], ", "))
	}
	fmt.Fprint(w, "| message | gateway | requests in a CPU second | CPU us/request (least, most) | requests/s | p50 us |\n|---|---|---|---|---|---|\n")
	for _, c := range transcodeCases {
		for _, p := range o.peers {
			var cpu, rate, p50 []float64
			for _, s := range all[p.name][c.name] {
				cpu, rate, p50 = append(cpu, micros(s.cpu)), append(rate, s.rate), append(p50, micros(s.p50))
			}
			used := spreadOf(cpu)
			fmt.Fprintf(w, "| %s | %s | %.0f | %.1f (%.1f, %.1f) | %.0f | %.0f |\n", c.name, p.name, 1e6/used.median, used.median, used.least, used.most, spreadOf(rate).median, spreadOf(p50).median)
		}
	}
	fmt.Fprint(w, "\n| message | Pithead to grpc-gateway, requests in a CPU second | least | most | goal | |\n|---|---|---|---|---|---|\n")
	for _, c := range transcodeCases {
		ratio := spreadOf(transcodeRatios(all, c.name))
		verdict := "reached"
		if ratio.median < c.goal {
			verdict = "missed"
		}
		fmt.Fprintf(w, "| %s | %.2f | %.2f | %.2f | %.1f | %s |\n", c.name, ratio.median, ratio.least, ratio.most, c.goal, verdict)
	}
}
