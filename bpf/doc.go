// Package bpf measures the connections of one gateway inside the kernel: how long
// they wait to be accepted, how long bytes lie unread, when a response begins and
// ends, and when the client has all of it. cmd/pithead-probe is its only user.
//
// # Hooks
//
// The programs hang on tracepoints with BTF, which work under lockdown where
// trampolines (fentry, kprobes) are refused:
//
//	inet_sock_set_state    a connection begins, is established, ends
//	tcp_probe              a segment arrives: bytes, and what the peer has received
//	tcp_rcv_space_adjust   the process has read
//	tcp_sendmsg_locked     the process writes; cgroup_skb/egress before Linux 6.16
//	tcp_retransmit_skb     a segment is sent again
//	tcp_receive_reset      the peer has reset the connection
//
// With a control group there are two more, which are the channel of
// gateway/anatomy and the moment of accept: cgroup/setsockopt, cgroup/getsockopt.
// Which of them there are is found out by trying, never by the kernel's version.
//
// Nothing is pinned, so everything is gone with the process, however it ends.
//
// # What it takes for a request
//
// Towards a client a request goes from its first byte that arrives to the first
// byte of its answer, towards an upstream from the first byte written to the first
// that arrives. A total time is counted when the next request begins, when the
// connection ends, or when nothing has moved for the settle time; in the last case
// a response that goes on is counted as cut. HTTP/1 only: pipelined requests are
// one, an answer that begins before the request has ended makes two, and
// connections of HTTP/2 or after an upgrade must be tagged as such.
//
// # Memory
//
// For each label 2 sides x 30 histograms x 856 bytes, 50 KiB, on each CPU, and 150
// bytes for each open connection.
package bpf
