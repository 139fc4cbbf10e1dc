package main

import (
	"fmt"
	"image/color"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

var (
	ours   = color.RGBA{R: 0xd9, G: 0x6c, B: 0x1a, A: 0xff}
	theirs = color.RGBA{R: 0x8a, G: 0x97, B: 0xa6, A: 0xff}
)

// writeCharts draws CPU time and p99 of a table as bars, the least first.
func writeCharts(dir string, t *table) error {
	err := writeChart(filepath.Join(dir, t.test.name+"-cpu.svg"), "CPU µs per request", t, func(r *row) spread { return r.cpu })
	if err != nil {
		return err
	}
	return writeChart(filepath.Join(dir, t.test.name+"-p99.svg"), fmt.Sprintf("p99 µs at %d requests/s", t.test.rate), t, func(r *row) spread { return r.p99 })
}

func writeChart(file, title string, t *table, of func(*row) spread) error {
	p := plot.New()
	p.Title.Text, p.X.Min = t.test.name+": "+title, 0
	n := len(t.rows)
	names := make([]string, n)
	for i := range t.rows {
		r := &t.rows[i]
		place := n - 1 - i // the first row on top
		names[place] = fmt.Sprintf("%s  %.4g", r.peer, of(r).median)
		values := make(plotter.Values, n)
		values[place] = of(r).median
		bars, err := plotter.NewBarChart(values, vg.Points(16))
		if err != nil {
			return err
		}
		bars.Horizontal, bars.LineStyle.Width, bars.Color = true, 0, theirs
		if r.peer == "pithead" {
			bars.Color = ours
		}
		p.Add(bars)
	}
	p.NominalY(names...)
	return p.Save(12*vg.Centimeter, vg.Length(n)*vg.Centimeter+2*vg.Centimeter, file)
}
