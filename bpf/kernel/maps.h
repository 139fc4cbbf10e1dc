// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
// What the programs remember, and what user space reads of it.
#pragma once

#include "types.h"

enum side { SERVER, UPSTREAM, SIDES };

// Cells of a label and side. From BY_STATUS on there is one of each for every
// class of status: unknown, 2xx, 3xx, 4xx, 5xx.
enum cell {
	CONNECT,
	ACCEPT,
	QUEUE,
	SRTT,
	LEAST, // round trip time of the last minutes, towards upstreams
	BY_STATUS,
	TTFB = 0, // of requests in one piece, whose first byte is their last
	TTFB_FIRST,
	TTFB_LAST,
	TOTAL,
	DRAIN,
	PER_STATUS,
	CLASSES = 5,
	CELLS = BY_STATUS + CLASSES * PER_STATUS,
};

enum counter {
	UNANSWERED,
	CONNECTIONS,
	RETRANSMITS,
	RESETS,
	REFUSED,
	UNREACHED,
	CUT,
	COUNTERS,
};

// Eight buckets in each octave from 2^10 ns to 2^36 ns (1 us to 69 s), one below
// and one above, and two that make the size a multiple of eight bytes.
#define LOWEST 10
#define HIGHEST 36
#define ABOVE ((HIGHEST - LOWEST) * 8 + 1)
#define BUCKETS 212

struct hist {
	__u64 sum;
	__u32 bucket[BUCKETS];
};

// Everything of a label and side, so that one look-up serves several observations.
// The kernel allows 32 KiB for it.
struct row {
	__u64 n[COUNTERS];
	struct hist cell[CELLS];
};

enum phase { IDLE, REQUEST, RESPONSE, FINISHED };

// Flags of a connection; the low ones are those of the timings that user space reads.
enum {
	F_TRACKED = 1,
	F_UPSTREAM = 2,
	F_TAGGED = 4,
	F_ACCEPTED = 8,
	F_CONNECTION = 16,
	F_SEEDED = 32,
	F_HELD = 64,
	F_ACCEPT_TOLD = 256,
	F_CONNECT_TOLD = 512,
	F_QUEUE_TOLD = 1024,
	F_COUNTED = 2048,
	F_NEXT = 4096, // the tag's request is the one that has not begun yet
};

struct conn {
	__u64 request;
	__u64 cookie;
	__u64 established;
	__u64 connect;
	__u64 accept;
	__u64 queue_first;
	__u64 queue_sum;
	__u64 first_in, last_in;
	__u64 first_out, last_out;
	__u64 acked;
	__u64 unread; // arrival of the oldest byte that nobody has read
	__u64 ttfb;
	__u32 label;
	__u32 flags;
	__u32 requests;
	__u32 retransmits;
	__u8 phase;
	__u8 class;
	__u8 pad[6];
};

// What a tag says; gateway/anatomy has the layout.
struct tag {
	__u32 label;
	__u32 flags;
	__u64 request;
};

struct timings {
	__u16 version, size;
	__u32 flags, label, requests;
	__u64 request, cookie, now, established, connect, accept, queue_first, queue_sum;
	__u64 first_in, last_in, first_out, last_out, acked;
	__u32 srtt_us, retransmits;
};
_Static_assert(sizeof(struct timings) == 128, "the layout of anatomy.Timings");

struct event {
	__u64 at;
	__u64 request;
	__u64 cookie;
	__u64 queue, accept, ttfb, total, drain;
	__u32 label;
	__u32 srtt_us;
	__u32 retransmits;
	__u8 side;
	__u8 class;
	__u8 pad[2];
};

// Nothing refers to it; it carries the layout into the BTF, for user space.
const struct event *event_layout __attribute__((unused));

struct prefix {
	__u32 bits;
	__u8 path[32];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct conn);
} conns SEC(".maps");

// Values are the bits of PORT_*.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u16);
	__type(value, __u8);
} ports SEC(".maps");

enum { PORT_LISTEN = 1, PORT_UPSTREAM = 2, PORT_SECURE = 4, PORT_CONNECTION = 8 };

// Index label * SIDES + side; user space sets the size.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct row);
} rows SEC(".maps");

// Which rows have been used: user space reads no others.
#define MAX_ROWS (4096 * SIDES)
volatile __u8 used[MAX_ROWS];

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 256);
	__type(key, struct prefix);
	__type(value, __u32);
} prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 262144);
} events SEC(".maps");

// Set before loading; what is off is then not even verified.
const volatile __u32 only_netns;
const volatile __u32 only_process;
const volatile __u64 only_cgroup;
const volatile bool any_listen, any_upstream;
const volatile bool parse_status, parse_path;
const volatile bool reads_skb; // whether the kernel has bpf_dynptr_from_skb
const volatile __u32 labels;
const volatile __u64 outlier_ns;
const volatile __u64 settle_ns;

// Set while running, when the gateway's control group has its hooks.
volatile bool sees_accept SEC(".data.accept");
