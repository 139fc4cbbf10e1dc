// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// The life of one connection: which messages begin and end. Everything here runs
// under the lock of the socket, so a connection needs no lock of its own.
#pragma once

#include "observe.h"
#include "parse.h"

#define ANY_CGROUP_DEPTH 16

static __always_inline bool in_cgroup(struct sock *sk)
{
	struct cgroup *group = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
	if (!only_cgroup)
		return true;
	for (int i = 0; i < ANY_CGROUP_DEPTH && group; i++) {
		struct cgroup_subsys_state *parent;
		if (BPF_CORE_READ(group, kn, id) == only_cgroup)
			return true;
		parent = BPF_CORE_READ(group, self.parent);
		if (!parent)
			return false;
		group = BPF_CORE_READ(parent, cgroup);
	}
	return false;
}

static __always_inline bool in_netns(struct sock *sk)
{
	return !only_netns || BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum) == only_netns;
}

static __always_inline __u8 port_bits(__u16 port)
{
	__u8 *bits = bpf_map_lookup_elem(&ports, &port);
	return bits ? *bits : 0;
}

// wanted are the flags of a connection to watch, 0 for one that is not.
static __noinline int wanted(__u16 number, bool client, bool started)
{
	__u8 bits = port_bits(number);
	__u32 flags = F_TRACKED;
	if (client) {
		bool ours = !only_process || (started && bpf_get_current_pid_tgid() >> 32 == only_process);
		if (!(bits & PORT_UPSTREAM) && !(any_upstream && ours))
			return 0;
		flags |= F_UPSTREAM;
	} else if (!(bits & PORT_LISTEN) && !any_listen) {
		return 0;
	}
	if (bits & PORT_SECURE)
		flags |= F_HELD;
	if (bits & PORT_CONNECTION)
		flags |= F_CONNECTION;
	return flags;
}

// begin starts a request; its first byte has just been seen.
static __always_inline void begin(struct conn *c)
{
	c->phase = REQUEST;
	c->class = 0;
	c->requests++;
	if (!(c->flags & F_NEXT))
		c->request = 0;
	c->flags &= ~(F_QUEUE_TOLD | F_NEXT);
	c->first_in = c->last_in = c->first_out = c->last_out = c->acked = 0;
	c->queue_first = c->queue_sum = c->ttfb = 0;
}

// answered observes what is known when the first byte of the response is seen.
static __always_inline int answered(struct conn *c, __u64 now, __u32 least_us)
{
	struct row *row;
	__u64 first, last;
	if (!c)
		return 0;
	c->phase = RESPONSE;
	first = c->flags & F_UPSTREAM ? c->first_out : c->first_in;
	last = c->flags & F_UPSTREAM ? c->last_out : c->last_in;
	c->ttfb = now - first;
	row = row_for(c);
	if (!row)
		return 0;
	told_once(c, row);
	if (silent(c))
		return 0;
	if (!(c->flags & F_UPSTREAM))
		tell_queue(c, row);
	else
		observe(row, LEAST, (__u64)least_us * 1000);
	if (first == last) {
		observe(row, by_status(c, TTFB), now - first);
	} else {
		observe(row, by_status(c, TTFB_FIRST), now - first);
		observe(row, by_status(c, TTFB_LAST), now - last);
	}
	return 0;
}

// more is a byte of a response that was taken for finished: the response was
// silent for longer than it may be, and its total time is too short.
static __always_inline void more(struct conn *c)
{
	if (c->phase != FINISHED)
		return;
	c->phase = IDLE;
	if (!silent(c))
		count(c, CUT);
}

// asks moves the connection on when a byte of a request is seen.
static __always_inline bool asks(struct conn *c, __u32 srtt_us)
{
	if (c->phase == REQUEST)
		return false;
	if (c->phase == RESPONSE)
		finish(c, srtt_us);
	begin(c);
	return true;
}

// answers moves the connection on when a byte of a response is seen.
static __always_inline void answers(struct conn *c, __u64 now, __u8 class, __u32 least_us)
{
	if (c->phase == REQUEST && class != INTERIM) {
		c->class = class;
		answered(c, now, least_us);
	} else {
		more(c);
	}
}
