// sleep wakes up a thousand times a second and tells how late it was: what this
// system, as busy as it is, does to any program that has to be on time.
//
//     sleep SECONDS      prints the median, 99 %, 99.9 % and the most, in µs
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { STEP = 1000000, MOST = 1000000 };

static double late[MOST];

static int compare(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

int main(int argc, char **argv) {
	if (argc != 2) {
		fprintf(stderr, "usage: sleep SECONDS\n");
		return 2;
	}
	int steps = 1000 * atoi(argv[1]), n = 0;
	struct timespec due, now;
	clock_gettime(CLOCK_MONOTONIC, &due);
	for (int i = 0; i < steps && n < MOST; i++) {
		due.tv_nsec += STEP;
		if (due.tv_nsec >= 1000000000) {
			due.tv_nsec -= 1000000000;
			due.tv_sec++;
		}
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR) {
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
		late[n++] = (double)(now.tv_sec - due.tv_sec) * 1e6 + (double)(now.tv_nsec - due.tv_nsec) / 1e3;
	}
	if (n == 0)
		return 1;
	qsort(late, n, sizeof late[0], compare);
	printf("%.0f %.0f %.0f %.0f\n", late[(n - 1) / 2], late[(int)((n - 1) * 0.99)], late[(int)((n - 1) * 0.999)], late[n - 1]);
	return 0;
}
