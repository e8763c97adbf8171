// load asks a STUN server on loopback and counts the answers.
//
//     load PORT SECONDS RATE     RATE requests a second, or with 0 as many as
//                                are answered, 512 at a time
//
// It prints "SENT ANSWERED SECONDS". Requests come from 64 networks, so that a
// limit on what one network may send isn't what is measured.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { SOCKETS = 64, WINDOW = 8, REQUEST = 20, ANSWER = 2048 };

static int fds[SOCKETS];
static int waiting[SOCKETS];
static unsigned char requests[WINDOW][REQUEST];
static char answers[WINDOW][ANSWER];
static struct iovec out_vectors[WINDOW], in_vectors[WINDOW];
static struct mmsghdr out[WINDOW], in[WINDOW];
static uint64_t sent, answered, number;

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void wait_until(double when) {
	struct timespec t = {(time_t)when, (long)((when - (double)(time_t)when) * 1e9)};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
	}
}

static void ask(int s, int n) {
	for (int i = 0; i < n; i++) { // a binding request with an id of its own
		static const unsigned char header[8] = {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42};
		memcpy(requests[i], header, sizeof header);
		number++;
		memcpy(requests[i] + 8, &number, sizeof number);
	}
	int done = sendmmsg(fds[s], out, n, 0);
	if (done > 0) {
		sent += done;
		waiting[s] += done;
	}
}

static int take(int s) {
	int n = recvmmsg(fds[s], in, WINDOW, MSG_DONTWAIT, NULL);
	if (n <= 0)
		return 0;
	answered += n;
	waiting[s] -= n;
	if (waiting[s] < 0)
		waiting[s] = 0;
	return n;
}

static void connect_all(int port) {
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	for (int s = 0; s < SOCKETS; s++) {
		struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001 | (s + 1) << 8)};
		fds[s] = socket(AF_INET, SOCK_DGRAM, 0);
		if (fds[s] < 0 || bind(fds[s], (struct sockaddr *)&from, sizeof from) < 0 || connect(fds[s], (struct sockaddr *)&to, sizeof to) < 0) {
			perror("load: connect");
			exit(1);
		}
	}
	for (int i = 0; i < WINDOW; i++) {
		out_vectors[i] = (struct iovec){requests[i], REQUEST};
		out[i].msg_hdr = (struct msghdr){.msg_iov = &out_vectors[i], .msg_iovlen = 1};
		in_vectors[i] = (struct iovec){answers[i], ANSWER};
		in[i].msg_hdr = (struct msghdr){.msg_iov = &in_vectors[i], .msg_iovlen = 1};
	}
}

// closed keeps a window of requests unanswered on each socket.
static void closed(double end) {
	struct pollfd polls[SOCKETS];
	for (double at = now(); at < end; at = now()) {
		int progress = 0;
		for (int s = 0; s < SOCKETS; s++) {
			progress += take(s);
			if (waiting[s] <= WINDOW / 2) {
				ask(s, WINDOW - waiting[s]);
				progress++;
			}
			polls[s] = (struct pollfd){.fd = fds[s], .events = POLLIN};
		}
		if (progress == 0 && poll(polls, SOCKETS, 20) == 0)
			memset(waiting, 0, sizeof waiting); // lost
	}
}

// paced sends at a rate, in millisecond steps.
static void paced(double end, double rate) {
	double begin = now();
	int s = 0;
	for (double at = begin; at < end;) {
		for (double due = (at - begin) * rate; (double)sent + WINDOW <= due; s = (s + 1) % SOCKETS) {
			ask(s, WINDOW);
			while (take(s) == WINDOW) {
			}
		}
		wait_until(at + 0.001);
		at = now();
	}
}

int main(int argc, char **argv) {
	if (argc != 4) {
		fprintf(stderr, "usage: load PORT SECONDS RATE\n");
		return 2;
	}
	connect_all(atoi(argv[1]));
	double rate = atof(argv[3]), begin = now();
	if (rate > 0)
		paced(begin + atof(argv[2]), rate);
	else
		closed(begin + atof(argv[2]));
	double end = now();
	wait_until(end + 0.05);
	for (int s = 0; s < SOCKETS; s++)
		while (take(s) > 0) {
		}
	printf("%llu %llu %.6f\n", (unsigned long long)sent, (unsigned long long)answered, end - begin);
	return 0;
}
