package wire

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/pithead/pithead/gateway/transcode/wire/internal/testpb"
)

// order makes an order with so many items.
func newOrder(items int) *testpb.Order {
	o := &testpb.Order{
		Id: "ord_01HZX3V9Q2", CustomerId: "cus_8842", CreatedAt: &timestamppb.Timestamp{Seconds: 1717171717, Nanos: 250000000},
		Status: testpb.Order_SHIPPED, TotalCents: 129900, WeightKg: 12.75, Paid: true, Signature: []byte("0123456789abcdef0123456789abcdef"),
		ShipTo: &testpb.Order_Address{Street: "Grubenweg 7", City: "Zürich", PostalCode: "8005", Country: "CH"},
		Labels: map[string]string{"channel": "web", "campaign": "summer", "tenant": "blue"},
		Note:   "Please ring twice, \"quietly\".\nThank you.",
	}
	for i := range items {
		o.Items = append(o.Items, &testpb.Order_Item{
			Sku: fmt.Sprintf("SKU-%06d", i), Title: "Miner's lamp, brass, " + strings.Repeat("very ", i%5) + "bright",
			Quantity: int32(i%9 + 1), PriceCents: int64(1999 + i*7), WeightKg: 0.25 * float64(i%7), Gift: i%3 == 0, Bins: []int32{1, 2, int32(i)},
		})
	}
	return o
}

// sizes are numbers of items that make about so much JSON.
var sizes = []struct {
	name  string
	items int
}{{"1KB", 4}, {"32KB", 230}}

func orderPlan(tb testing.TB) *Plan {
	tb.Helper()
	plan, err := Compile((*testpb.Order)(nil).ProtoReflect().Descriptor(), Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return plan
}

func orderBytes(tb testing.TB, items int) (wire, json []byte) {
	tb.Helper()
	wire, err := proto.Marshal(newOrder(items))
	if err != nil {
		tb.Fatal(err)
	}
	if json, err = orderPlan(tb).AppendJSON(nil, wire); err != nil {
		tb.Fatal(err)
	}
	return wire, json
}

func BenchmarkRequest(b *testing.B) {
	for _, size := range sizes {
		_, json := orderBytes(b, size.items)
		b.Run(size.name+"/plan", func(b *testing.B) {
			plan, buf := orderPlan(b), make([]byte, 0, 64<<10)
			b.ReportAllocs()
			b.SetBytes(int64(len(json)))
			for b.Loop() {
				if _, err := plan.AppendWire(buf, json); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(size.name+"/protojson", func(b *testing.B) {
			buf := make([]byte, 0, 64<<10)
			b.ReportAllocs()
			b.SetBytes(int64(len(json)))
			for b.Loop() {
				var m testpb.Order
				if err := protojson.Unmarshal(json, &m); err != nil {
					b.Fatal(err)
				}
				if _, err := (proto.MarshalOptions{}).MarshalAppend(buf, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkResponse(b *testing.B) {
	for _, size := range sizes {
		wire, json := orderBytes(b, size.items)
		b.Run(size.name+"/plan", func(b *testing.B) {
			plan, buf := orderPlan(b), make([]byte, 0, 64<<10)
			b.ReportAllocs()
			b.SetBytes(int64(len(json)))
			for b.Loop() {
				if _, err := plan.AppendJSON(buf, wire); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(size.name+"/protojson", func(b *testing.B) {
			buf := make([]byte, 0, 64<<10)
			b.ReportAllocs()
			b.SetBytes(int64(len(json)))
			for b.Loop() {
				var m testpb.Order
				if err := proto.Unmarshal(wire, &m); err != nil {
					b.Fatal(err)
				}
				if _, err := (protojson.MarshalOptions{}).MarshalAppend(buf, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
