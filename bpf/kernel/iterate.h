// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// Walks over all connections of a network namespace, each under its lock.
#pragma once

#include "message.h"

// seed begins to watch the connections that are older than the probe.
SEC("iter/tcp")
int seed(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct tcp_sock *tp;
	struct conn *c;
	__u32 flags = 0;
	__u16 local, remote;
	__u8 bits, state;
	if (!common)
		return 0;
	tp = bpf_skc_to_tcp_sock(common);
	if (!tp || !in_netns((struct sock *)tp) || !in_cgroup((struct sock *)tp))
		return 0;
	state = BPF_CORE_READ((struct sock *)tp, __sk_common.skc_state);
	local = BPF_CORE_READ((struct sock *)tp, __sk_common.skc_num);
	remote = bpf_ntohs(BPF_CORE_READ((struct sock *)tp, __sk_common.skc_dport));
	if (state == LISTEN && any_listen) { // listeners come first in the walk
		bits = port_bits(local) | PORT_LISTEN;
		bpf_map_update_elem(&ports, &local, &bits, BPF_ANY);
	}
	if (state != ESTABLISHED)
		return 0;
	if (port_bits(local) & PORT_LISTEN)
		flags = wanted(local, false, false);
	else
		flags = wanted(remote, true, false);
	if (!flags || bpf_sk_storage_get(&conns, tp, 0, 0))
		return 0;
	c = bpf_sk_storage_get(&conns, tp, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!c)
		return 0;
	c->flags = flags | F_SEEDED | F_COUNTED;
	c->cookie = bpf_get_socket_cookie(tp);
	return 0;
}

// sweep finishes responses whose last byte was long ago, for nothing else happens
// on a connection that stays idle.
SEC("iter/tcp")
int sweep(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	struct tcp_sock *tp;
	struct conn *c;
	__u64 last;
	if (!common)
		return 0;
	tp = bpf_skc_to_tcp_sock(common);
	if (!tp)
		return 0;
	c = bpf_sk_storage_get(&conns, tp, 0, 0);
	if (!c || c->phase != RESPONSE || (!(c->flags & F_UPSTREAM) && !c->acked))
		return 0;
	last = c->flags & F_UPSTREAM ? c->last_in : c->last_out;
	if (bpf_ktime_get_ns() - last >= settle_ns)
		finish(c, tp->srtt_us >> 3);
	return 0;
}
