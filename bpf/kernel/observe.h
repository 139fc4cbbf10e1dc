// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// Counting. A softirq may interrupt a system call on the same CPU, therefore
// every addition is atomic although the maps are per CPU.
#pragma once

#include "maps.h"

static __always_inline __u32 side_of(struct conn *c)
{
	return c->flags & F_UPSTREAM ? UPSTREAM : SERVER;
}

static __always_inline __u32 row_of(struct conn *c)
{
	__u32 label = c->label < labels ? c->label : 0;
	return label * SIDES + side_of(c);
}

static __always_inline __u32 bucket_of(__u64 ns)
{
	__u32 octave = 0;
	__u64 v = ns;
	if (v >> HIGHEST)
		return ABOVE;
	if (v >> 32) { v >>= 32; octave += 32; }
	if (v >> 16) { v >>= 16; octave += 16; }
	if (v >> 8) { v >>= 8; octave += 8; }
	if (v >> 4) { v >>= 4; octave += 4; }
	if (v >> 2) { v >>= 2; octave += 2; }
	if (v >> 1) octave += 1;
	if (octave < LOWEST)
		return 0;
	return 1 + (octave - LOWEST) * 8 + ((ns >> (octave - 3)) & 7);
}

// row_for is where a connection is counted, 0 if user space has made no room.
static __always_inline struct row *row_for(struct conn *c)
{
	__u32 at = row_of(c);
	asm volatile("" : "+r"(at)); // as in observe
	if (at >= MAX_ROWS)
		return 0;
	if (!used[at])
		used[at] = 1;
	return bpf_map_lookup_elem(&rows, &at);
}

// observe counts a duration; the barriers keep comparisons that the verifier needs
// and that the compiler can do without. It is inlined, as all that a request passes
// through: processors that are guarded against return prediction take 10 ns to return.
static __always_inline void observe(struct row *row, __u32 cell, __u64 ns)
{
	struct hist *h;
	__u32 i;
	asm volatile("" : "+r"(cell));
	if (cell >= CELLS)
		return;
	if ((__s64)ns < 0)
		ns = 0;
	h = &row->cell[cell];
	i = bucket_of(ns);
	asm volatile("" : "+r"(i));
	if (i >= BUCKETS)
		i = BUCKETS - 1;
	__sync_fetch_and_add(&h->sum, ns);
	__sync_fetch_and_add(&h->bucket[i], 1);
}

static __always_inline void add(struct row *row, __u32 which)
{
	__sync_fetch_and_add(&row->n[which], 1);
}

static __always_inline void count(struct conn *c, __u32 which)
{
	struct row *row = row_for(c);
	if (row)
		add(row, which);
}

static __always_inline __u32 by_status(struct conn *c, __u32 what)
{
	__u32 class = c->class < CLASSES ? c->class : 0;
	return BY_STATUS + class * PER_STATUS + what;
}

// silent connections have no requests that could be told apart.
static __always_inline bool silent(struct conn *c)
{
	return c->flags & (F_HELD | F_CONNECTION);
}

// told_once observes what a connection has once, as soon as it is known whose it
// is: a gateway tags a connection only after it has read the first request.
static __always_inline void told_once(struct conn *c, struct row *row)
{
	if (!(c->flags & F_COUNTED)) {
		c->flags |= F_COUNTED;
		add(row, CONNECTIONS);
	}
	if ((c->flags & F_ACCEPTED) && !(c->flags & F_ACCEPT_TOLD)) {
		c->flags |= F_ACCEPT_TOLD;
		observe(row, ACCEPT, c->accept);
	}
	if (c->connect && !(c->flags & F_CONNECT_TOLD)) {
		c->flags |= F_CONNECT_TOLD;
		observe(row, CONNECT, c->connect);
	}
}

static __always_inline void tell_queue(struct conn *c, struct row *row)
{
	if (c->flags & F_QUEUE_TOLD)
		return;
	c->flags |= F_QUEUE_TOLD;
	observe(row, QUEUE, c->queue_sum);
}

static __noinline int outlier(struct conn *c, __u64 total, __u64 drained, __u32 srtt_us)
{
	struct event *e;
	__u64 now = bpf_ktime_get_ns();
	if (!c)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->at = now;
	e->request = c->request;
	e->cookie = c->cookie;
	e->queue = c->queue_sum;
	e->accept = c->requests == 1 ? c->accept : 0;
	e->ttfb = c->ttfb;
	e->total = total;
	e->drain = drained;
	e->label = c->label;
	e->srtt_us = srtt_us;
	e->retransmits = c->retransmits;
	e->side = side_of(c);
	e->class = c->class;
	bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
	return 0;
}

// finish observes the response that has been going on, if there is one.
static __always_inline int finish(struct conn *c, __u32 srtt_us)
{
	__u64 total, drained = 0;
	struct row *row;
	if (!c || c->phase != RESPONSE)
		return 0;
	c->phase = FINISHED;
	if (silent(c))
		return 0;
	row = row_for(c);
	if (!row)
		return 0;
	tell_queue(c, row);
	observe(row, SRTT, (__u64)srtt_us * 1000);
	total = c->flags & F_UPSTREAM ? c->last_in - c->first_out : c->last_out - c->first_in;
	observe(row, by_status(c, TOTAL), total);
	if (!(c->flags & F_UPSTREAM) && c->acked >= c->last_out) {
		drained = c->acked - c->last_out;
		observe(row, by_status(c, DRAIN), drained);
	}
	if (outlier_ns && total + drained >= outlier_ns)
		outlier(c, total, drained, srtt_us);
	return 0;
}

// ended observes what a connection has to tell when it is closed.
static __noinline int ended(struct conn *c, __u32 srtt_us)
{
	struct row *row;
	if (!c)
		return 0;
	row = row_for(c);
	if (!row)
		return 0;
	told_once(c, row);
	if (c->phase == REQUEST && !silent(c)) {
		tell_queue(c, row);
		add(row, UNANSWERED);
	}
	if (c->flags & F_CONNECTION)
		observe(row, SRTT, (__u64)srtt_us * 1000);
	finish(c, srtt_us);
	c->phase = IDLE;
	return 0;
}
