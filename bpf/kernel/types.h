// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// The few fields of kernel structures that the programs read. Offsets come from
// the running kernel's BTF, so nothing else of a structure needs to be known.
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};
struct net {
	struct ns_common ns;
};
typedef struct {
	struct net *net;
} possible_net_t;

struct kernfs_node {
	__u64 id;
};
struct cgroup;
struct cgroup_subsys_state {
	struct cgroup_subsys_state *parent;
	struct cgroup *cgroup;
};
struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
};
struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct sock_common {
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
};
struct sock {
	struct sock_common __sk_common;
	int sk_err;
	struct sock_cgroup_data sk_cgrp_data;
};
struct minmax_sample {
	__u32 t, v;
};
struct minmax {
	struct minmax_sample s[3];
};
struct tcp_sock {
	__u32 copied_seq;
	__u32 rcv_nxt;
	__u32 snd_una;
	__u32 write_seq;
	__u32 srtt_us;
	__u32 total_retrans;
	struct minmax rtt_min;
};
struct sk_buff {
	char cb[48];
	unsigned int len;
};

struct iovec {
	void *iov_base;
	__kernel_size_t iov_len;
};
struct iov_iter {
	__u8 iter_type;
	__kernel_size_t iov_offset;
	const struct iovec *__iov;
	void *ubuf;
	__kernel_size_t count;
};
struct msghdr {
	struct iov_iter msg_iter;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};
struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
};

#pragma clang attribute pop

// iov_iter said `iov` before Linux 6.4.
struct iov_iter___old {
	const struct iovec *iov;
} __attribute__((preserve_access_index));

enum iter_type {
	ITER_UBUF,
	ITER_IOVEC,
};

extern int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags, struct bpf_dynptr *ptr) __ksym __weak;

// States of TCP, RFC 9293 section 3.3.2, as Linux counts them.
enum {
	ESTABLISHED = 1,
	SYN_SENT = 2,
	SYN_RECV = 3,
	FIN_WAIT1 = 4,
	FIN_WAIT2 = 5,
	CLOSE = 7,
	LAST_ACK = 9,
	LISTEN = 10,
};

#define ECONNREFUSED 111
