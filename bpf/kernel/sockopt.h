// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// The channel to the gateway; gateway/anatomy is its other end.
#pragma once

#include "message.h"

#define CHANNEL 0x4757
#define OPT_TAG 1
#define OPT_TIMINGS 2
#define TAG_UPSTREAM 1
#define TAG_CONNECTION 2
#define SOL_TCP 6
#define TCP_NODELAY 1

static __always_inline void tag_conn(struct conn *c, struct tag *tag, __u32 srtt_us)
{
	// What goes on towards an upstream is the end of the request before.
	if (c->flags & F_UPSTREAM)
		finish(c, srtt_us);
	if (c->flags & F_HELD && c->phase == REQUEST)
		c->requests = 1; // the ones before were the handshake
	c->flags &= ~(F_HELD | F_CONNECTION | F_NEXT);
	c->flags |= F_TAGGED | F_TRACKED;
	if (tag->flags & TAG_UPSTREAM)
		c->flags |= F_UPSTREAM;
	if (tag->flags & TAG_CONNECTION)
		c->flags |= F_CONNECTION;
	if (c->phase != REQUEST)
		c->flags |= F_NEXT;
	c->label = tag->label;
	c->request = tag->request;
}

SEC("cgroup/setsockopt")
int on_setsockopt(struct bpf_sockopt *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct bpf_tcp_sock *tp;
	struct tag *tag, *end;
	struct conn *c;
	if (!sk)
		return 1;
	if (ctx->level == SOL_TCP && ctx->optname == TCP_NODELAY) {
		// Servers that care for latency set it on what they have just accepted, as
		// Go does on every connection: there is no cheaper sign of accept.
		c = bpf_sk_storage_get(&conns, sk, 0, 0);
		if (c && !(c->flags & (F_UPSTREAM | F_ACCEPTED | F_SEEDED))) {
			c->accept = bpf_ktime_get_ns() - c->established;
			c->flags |= F_ACCEPTED;
		}
		return 1;
	}
	if (ctx->level != CHANNEL || ctx->optname != OPT_TAG)
		return 1;
	tag = ctx->optval;
	end = ctx->optval_end;
	if (tag + 1 > end)
		return 0;
	tp = bpf_tcp_sock(sk);
	if (tp) {
		c = bpf_sk_storage_get(&conns, sk, 0, tag->flags & TAG_UPSTREAM ? BPF_SK_STORAGE_GET_F_CREATE : 0);
		if (c)
			tag_conn(c, tag, tp->srtt_us >> 3);
	}
	ctx->optlen = -1; // the kernel need not see it
	return 1;
}

SEC("cgroup/getsockopt")
int on_getsockopt(struct bpf_sockopt *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct timings *out, *end;
	struct bpf_tcp_sock *tp;
	struct conn *c;
	if (!sk || ctx->level != CHANNEL || ctx->optname != OPT_TIMINGS)
		return 1;
	out = ctx->optval;
	end = ctx->optval_end;
	if (out + 1 > end)
		return 0;
	__builtin_memset(out, 0, sizeof(*out));
	out->version = 1;
	out->size = sizeof(*out);
	tp = bpf_tcp_sock(sk);
	c = bpf_sk_storage_get(&conns, sk, 0, 0);
	if (c && tp) {
		out->flags = c->flags & 127;
		out->label = c->label;
		out->requests = c->requests;
		out->request = c->request;
		out->cookie = c->cookie;
		out->now = bpf_ktime_get_ns();
		out->established = c->established;
		out->connect = c->connect;
		out->accept = c->accept;
		out->queue_first = c->queue_first;
		out->queue_sum = c->queue_sum;
		out->first_in = c->first_in;
		out->last_in = c->last_in;
		out->first_out = c->first_out;
		out->last_out = c->last_out;
		out->acked = c->acked;
		out->srtt_us = tp->srtt_us >> 3;
		out->retransmits = tp->total_retrans;
	}
	ctx->optlen = sizeof(*out);
	asm volatile("" ::: "memory"); // two stores into the context must not become one
	ctx->retval = 0;
	return 1;
}
