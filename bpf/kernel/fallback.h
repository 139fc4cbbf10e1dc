// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// For kernels without the tracepoint tcp_sendmsg_locked (before 6.16): bytes are
// seen when they leave as packets.
#pragma once

#include "message.h"

struct ipv4_start {
	__u8 version_words;
	__u8 tos;
	__be16 length;
};
struct tcp_start {
	__be16 from, to;
	__be32 seq, ack;
	__u8 words;
	__u8 flags;
};

#define PROTO_TCP 6

SEC("cgroup_skb/egress")
int on_packet(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct bpf_tcp_sock *tp;
	struct ipv4_start ip;
	struct tcp_start tcp;
	struct head h = {};
	struct conn *c;
	__u32 at = 40;
	__u64 n;
	if (!sk || !(sk = bpf_sk_fullsock(sk)) || sk->protocol != PROTO_TCP)
		return 1;
	c = bpf_sk_storage_get(&conns, sk, 0, 0);
	if (!c || !(tp = bpf_tcp_sock(sk)) || bpf_skb_load_bytes(skb, 0, &ip, sizeof(ip)))
		return 1;
	if (ip.version_words >> 4 == 4)
		at = (ip.version_words & 15) * 4;
	if (bpf_skb_load_bytes(skb, at, &tcp, sizeof(tcp)))
		return 1;
	at += (tcp.words >> 4) * 4;
	if (skb->len <= at || (__s32)(bpf_ntohl(tcp.seq) - tp->snd_nxt) < 0) // nothing new in it
		return 1;
	n = skb->len - at;
	if (n > HEAD)
		n = HEAD;
	asm volatile("%0 &= 63" : "+r"(n));
	if (n > 0 && n <= HEAD && !bpf_skb_load_bytes(skb, at, h.text, n))
		h.n = n;
	segment_out(c, &h, bpf_ktime_get_ns(), 0, tp->srtt_us >> 3);
	return 1;
}
