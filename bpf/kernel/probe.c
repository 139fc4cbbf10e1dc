// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// The programs of pithead-probe. bpf/doc.go says what they measure and why these
// hooks were chosen.
#include "message.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL"; // the helpers that tracing needs ask for it

// Offsets in sk_buff.cb as TCP uses it, the same since Linux 4.16.
#define CB_SEQ 0
#define CB_END_SEQ 4
#define CB_FLAGS 12
#define CB_ACK_SEQ 20
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_ACK 0x10

static __always_inline __u32 srtt(struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	return tp ? tp->srtt_us >> 3 : 0;
}

static __always_inline struct conn *watch(struct sock *sk, __u32 flags)
{
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!c)
		return 0;
	c->flags |= flags;
	c->cookie = bpf_get_socket_cookie(sk);
	return c;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, int old, int new)
{
	__u64 now;
	__u32 flags;
	struct conn *c;
	if (new == SYN_SENT || (new == ESTABLISHED && old == SYN_RECV)) {
		bool client = new == SYN_SENT;
		__u16 port = client ? bpf_ntohs(sk->__sk_common.skc_dport) : sk->__sk_common.skc_num;
		if (!in_netns(sk) || !in_cgroup(sk))
			return 0;
		flags = wanted(port, client, true);
		if (!flags)
			return 0;
		c = watch(sk, flags);
		if (c)
			c->established = bpf_ktime_get_ns();
		return 0;
	}
	c = bpf_sk_storage_get(&conns, sk, 0, 0);
	if (!c)
		return 0;
	now = bpf_ktime_get_ns();
	if (new == ESTABLISHED && old == SYN_SENT) {
		c->connect = now - c->established;
		c->established = now;
	} else if (new == CLOSE && old == SYN_SENT) {
		count(c, sk->sk_err == ECONNREFUSED ? REFUSED : UNREACHED);
	} else if (new == FIN_WAIT2 || (new == CLOSE && old == LAST_ACK && !sk->sk_err)) {
		if (!c->acked && c->last_out)
			c->acked = now;
	}
	if (new == CLOSE && old != SYN_SENT)
		ended(c, srtt(sk));
	return 0;
}

static __always_inline void segment_in(struct conn *c, struct sk_buff *skb, __u32 payload, __u64 now, struct tcp_sock *tp)
{
	struct head h;
	__u8 class = 0;
	if (!c->unread)
		c->unread = now;
	if (c->flags & F_UPSTREAM) {
		if (parse_status && c->phase == REQUEST) {
			head_of_skb(&h, skb, payload);
			class = class_of(&h);
		}
		answers(c, now, class, tp->rtt_min.s[0].v);
		if (!c->first_in)
			c->first_in = now;
	} else if (asks(c, tp->srtt_us >> 3)) {
		c->first_in = now;
		if (parse_path && !(c->flags & F_TAGGED)) {
			head_of_skb(&h, skb, payload);
			c->label = label_of(&h);
		}
	}
	c->last_in = now;
}

SEC("tp_btf/tcp_probe")
int BPF_PROG(on_segment, struct sock *sk, struct sk_buff *skb)
{
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);
	__u32 seq, end, flags, payload;
	struct tcp_sock *tp;
	__u64 now;
	if (!c)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	flags = *(__u16 *)&skb->cb[CB_FLAGS];
	end = *(__u32 *)&skb->cb[CB_END_SEQ];
	seq = *(__u32 *)&skb->cb[CB_SEQ];
	now = bpf_ktime_get_ns();
	if ((flags & TCP_ACK) && c->last_out && !c->acked) {
		__u32 ack = *(__u32 *)&skb->cb[CB_ACK_SEQ];
		if ((__s32)(ack - tp->write_seq) >= 0)
			c->acked = now;
	}
	payload = end - seq - !!(flags & TCP_FIN) - !!(flags & TCP_SYN);
	if (payload && (__s32)(end - tp->rcv_nxt) > 0) // else it has come before
		segment_in(c, skb, payload, now, tp);
	return 0;
}

SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(on_read, struct sock *sk)
{
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);
	struct tcp_sock *tp;
	__u64 now;
	if (!c)
		return 0;
	now = bpf_ktime_get_ns();
	if (!(c->flags & (F_UPSTREAM | F_ACCEPTED | F_SEEDED)) && !sees_accept) {
		c->accept = now - c->established;
		c->flags |= F_ACCEPTED;
	}
	if (!c->unread) {
		// The request came with the end of the handshake (TCP_DEFER_ACCEPT, Fast Open).
		if (!(c->flags & (F_UPSTREAM | F_SEEDED)) && !c->requests) {
			begin(c);
			c->first_in = c->last_in = now;
		}
		return 0;
	}
	if (!c->queue_first)
		c->queue_first = now - c->unread;
	c->queue_sum += now - c->unread;
	tp = bpf_skc_to_tcp_sock(sk);
	c->unread = tp && tp->copied_seq != tp->rcv_nxt ? now : 0;
	return 0;
}

// segment_out is a byte on its way to the peer. The round trip is that of sk, or
// srtt_us where there is none to ask.
static __always_inline void segment_out(struct conn *c, struct head *h, __u64 now, struct sock *sk, __u32 srtt_us)
{
	if (!(c->flags & F_UPSTREAM)) {
		answers(c, now, parse_status ? class_of(h) : 0, 0);
		if (c->phase != RESPONSE)
			return;
		if (!c->first_out)
			c->first_out = now;
	} else if (asks(c, sk && c->phase == RESPONSE ? srtt(sk) : srtt_us)) {
		c->first_out = now;
		if (parse_path && !(c->flags & F_TAGGED))
			c->label = label_of(h);
	}
	c->last_out = now;
	c->acked = 0;
}

SEC("tp_btf/tcp_sendmsg_locked")
int BPF_PROG(on_send, struct sock *sk, struct msghdr *msg)
{
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);
	struct head h;
	bool first;
	if (!c)
		return 0;
	if (c->flags & F_UPSTREAM)
		first = parse_path && c->phase != REQUEST;
	else
		first = parse_status && c->phase == REQUEST;
	h.n = 0;
	if (first)
		head_of_msg(&h, msg);
	segment_out(c, &h, bpf_ktime_get_ns(), sk, 0);
	return 0;
}

SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(on_retransmit, struct sock *sk)
{
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);
	if (!c)
		return 0;
	c->retransmits++;
	count(c, RETRANSMITS);
	return 0;
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(on_reset, struct sock *sk)
{
	struct conn *c = bpf_sk_storage_get(&conns, sk, 0, 0);
	if (c && sk->__sk_common.skc_state != SYN_SENT) // that is a refused connection
		count(c, RESETS);
	return 0;
}

#include "fallback.h"
#include "iterate.h"
#include "sockopt.h"
