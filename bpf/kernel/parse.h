// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// The first bytes of HTTP/1 messages (RFC 9112 sections 3 and 4), as far as they
// tell a class of status or a path. Anything else leaves both unknown.
#pragma once

#include "maps.h"

#define HEAD 48

struct head {
	__u32 n;
	char text[64]; // HEAD of them are filled; the rest keeps masked indices inside
};

// What a status line says, besides a class.
enum { INTERIM = CLASSES };

static __always_inline __u8 class_of(struct head *h)
{
	char *t = h->text;
	if (h->n < 13 || t[0] != 'H' || t[1] != 'T' || t[2] != 'T' || t[3] != 'P' || t[4] != '/' || t[8] != ' ')
		return 0;
	if (t[9] == '1')
		return t[11] == '1' ? 0 : INTERIM; // 101 is the last answer in HTTP
	if (t[9] >= '2' && t[9] <= '5')
		return t[9] - '1';
	return 0;
}

// label_of finds the label of the longest prefix of the path in a request line.
static __noinline int label_of(struct head *h)
{
	struct prefix key = {.bits = sizeof(key.path) * 8};
	__u32 space = 0, *found;
	if (!h)
		return 0;
	for (__u32 i = 1; i < 9; i++) {
		if (h->text[i] == ' ') {
			space = i;
			break;
		}
	}
	if (!space)
		return 0;
	for (__u32 i = 0; i < sizeof(key.path); i++)
		key.path[i] = h->text[(space + 1 + i) & 63];
	found = bpf_map_lookup_elem(&prefixes, &key);
	return found ? *found : 0;
}

// head_of_skb reads the first bytes of the payload of a segment.
static __always_inline void head_of_skb(struct head *h, struct sk_buff *skb, __u32 payload)
{
	struct bpf_dynptr data;
	__u64 n = payload;
	__u32 at = skb->len - payload;
	__builtin_memset(h, 0, sizeof(*h));
	if (!reads_skb || bpf_dynptr_from_skb((struct __sk_buff *)skb, 0, &data))
		return;
	if (n > HEAD)
		n = HEAD;
	asm volatile("%0 &= 63" : "+r"(n));
	if (n == 0 || n > HEAD)
		return;
	if (!bpf_dynptr_read(h->text, n, &data, at, 0))
		h->n = n;
}

// head_of_msg reads the first bytes that a system call is about to send.
static __always_inline void head_of_msg(struct head *h, const struct msghdr *msg)
{
	__u8 type = msg->msg_iter.iter_type;
	__u64 n = msg->msg_iter.count;
	void *from = 0;
	__builtin_memset(h, 0, sizeof(*h));
	if (type == bpf_core_enum_value(enum iter_type, ITER_UBUF)) {
		from = msg->msg_iter.ubuf;
	} else if (type == bpf_core_enum_value(enum iter_type, ITER_IOVEC)) {
		struct iov_iter___old *old = (void *)&msg->msg_iter;
		const struct iovec *vec;
		__u64 first;
		if (bpf_core_field_exists(old->iov))
			vec = BPF_CORE_READ(old, iov);
		else
			vec = BPF_CORE_READ(msg, msg_iter.__iov);
		from = BPF_CORE_READ(vec, iov_base);
		first = BPF_CORE_READ(vec, iov_len);
		if (n > first)
			n = first;
	}
	if (!from)
		return;
	from += msg->msg_iter.iov_offset;
	if (n > HEAD)
		n = HEAD;
	asm volatile("%0 &= 63" : "+r"(n));
	if (n > HEAD)
		return;
	if (!bpf_probe_read_user(h->text, n, from))
		h->n = n;
}
