/* Open-loop load: each request has its moment, whatever became of those before it.

   load PORT REQUESTS RATE SECONDS CONNECTIONS PATIENCE DEPTH

   Moments come by chance, RATE a second (a Poisson stream). At its moment a request takes a connection that has less
   than DEPTH requests under way; where there is none it waits for one, and after PATIENCE seconds goes away unsent:
   a server that stops reading is to be seen by that, not to be spared by it. Time is counted from the moment, not from
   the sending, so that nothing is hidden by requests that were late. REQUESTS is a file of whole requests, each behind
   its length (32 bits), taken in turns. Prints JSON; times are in seconds. One thread and as few calls of the kernel
   as there can be, for the server has one core and this has the other. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { DEEPEST = 64, HELD = 65536, SLOTS = 1 << 20, WAITING = 1 << 22, SECONDS = 600 };
static const double SLOT = 1e-5; /* of the histograms, so they reach ten seconds */
static const double LAST = 3;    /* how long answers are waited for at the end */

struct link {
	int fd, wants_out, queued;   /* queued: among the free ones */
	double due[DEEPEST];         /* of those under way, in order */
	int first, under_way;
	const char *out;             /* what is left to be sent of the last one, */
	size_t left;
	size_t held, skip;           /* bytes of an answer's head, and of its body that are to come */
	char buffer[4096];
};

enum { TAKEN, REFUSED, LIMITED, OTHER, KINDS };
static uint32_t slots[2][SLOTS];
static long answers[KINDS], bare, unsent, broken, due_now, within;
static long taken_in[SECONDS], refused_in[SECONDS];
static double begun, until, most[2], late;
static struct link *links, **free_links;
static long free_first, free_count, connections;
static double *waiting;
static long waiting_first, waiting_count;
static const char **requests;
static uint32_t *sizes;
static long request_count, next_request;
static int poller, depth;
static struct sockaddr_in place;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void offer(struct link *l)
{
	if (l->queued || l->under_way >= depth || l->left || l->fd < 0)
		return;
	l->queued = 1;
	free_links[(free_first + free_count++) % connections] = l;
}

static void watch(struct link *l, int add)
{
	struct epoll_event e = {.events = EPOLLIN | (l->left ? EPOLLOUT : 0), .data.ptr = l};
	l->wants_out = l->left > 0;
	epoll_ctl(poller, add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, l->fd, &e);
}

static void open_link(struct link *l)
{
	int one = 1;
	l->fd = socket(AF_INET, SOCK_STREAM, 0);
	l->under_way = 0;
	l->left = l->held = l->skip = 0;
	if (l->fd < 0 || connect(l->fd, (struct sockaddr *)&place, sizeof place)) {
		perror("load: connect");
		exit(1);
	}
	setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	fcntl(l->fd, F_SETFL, O_NONBLOCK);
	watch(l, 1);
	offer(l);
}

/* The server has closed; what was under way there has no answer. */
static void again(struct link *l)
{
	broken += l->under_way;
	close(l->fd);
	open_link(l);
}

static void push(struct link *l)
{
	while (l->left) {
		ssize_t n = send(l->fd, l->out, l->left, MSG_NOSIGNAL);
		if (n < 0) {
			if (errno != EAGAIN) {
				again(l);
				return;
			}
			break;
		}
		l->out += n;
		l->left -= n;
	}
	if ((l->left > 0) != l->wants_out)
		watch(l, 0);
	offer(l);
}

static void begin(struct link *l, double due)
{
	l->due[(l->first + l->under_way++) % DEEPEST] = due;
	l->out = requests[next_request];
	l->left = sizes[next_request];
	next_request = (next_request + 1) % request_count;
	push(l);
}

static void answered(struct link *l, const char *head)
{
	double at = now(), took = at - l->due[l->first];
	int status = atoi(head + 9), kind, second = (int)(at - begun);
	l->first = (l->first + 1) % DEEPEST;
	l->under_way--;
	kind = status / 100 == 2 || status / 100 == 3 ? TAKEN : status == 503 ? REFUSED : status == 429 ? LIMITED : OTHER;
	answers[kind]++;
	if ((kind == REFUSED || kind == LIMITED) && !strcasestr(head, "\r\nRetry-After: "))
		bare++;
	if (at < until && second >= 0 && second < SECONDS) {
		within += kind == TAKEN;
		taken_in[second] += kind == TAKEN;
		refused_in[second] += kind == REFUSED;
	}
	if (kind == TAKEN || kind == REFUSED) {
		long slot = took / SLOT;
		slots[kind][slot < SLOTS ? slot : SLOTS - 1]++;
		if (took > most[kind])
			most[kind] = took;
	}
}

static void take(struct link *l)
{
	static char data[HELD];
	ssize_t n;
	while ((n = recv(l->fd, data, sizeof data, 0)) > 0) {
		char *at = data, *end = data + n;
		while (at < end) {
			if (l->skip) {
				size_t some = (size_t)(end - at) < l->skip ? (size_t)(end - at) : l->skip;
				l->skip -= some;
				at += some;
				continue;
			}
			/* A head, whole in what has come nearly always. */
			size_t some = end - at, room = sizeof l->buffer - 1 - l->held, before = l->held;
			memcpy(l->buffer + l->held, at, some < room ? some : room);
			l->held += some < room ? some : room;
			l->buffer[l->held] = 0;
			char *stop = strstr(l->buffer, "\r\n\r\n"), *length;
			if (!stop) {
				if (l->held == sizeof l->buffer - 1 || l->under_way == 0) {
					fprintf(stderr, "load: no answer: %.200s\n", l->buffer);
					exit(1);
				}
				break;
			}
			stop[2] = 0;
			length = strstr(l->buffer, "\r\nContent-Length: ");
			l->skip = length ? strtoul(length + 18, 0, 10) : 0;
			at += stop + 4 - l->buffer - before;
			l->held = 0;
			answered(l, l->buffer);
		}
		if (n < (ssize_t)sizeof data)
			break;
	}
	if (n == 0 || (n < 0 && errno != EAGAIN))
		again(l);
	else
		offer(l);
}

static void load(const char *path)
{
	int fd = open(path, O_RDONLY);
	struct stat s;
	if (fd < 0 || fstat(fd, &s)) {
		perror(path);
		exit(1);
	}
	char *all = mmap(0, s.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	for (int turn = 0; turn < 2; turn++) {
		request_count = 0;
		for (off_t at = 0; at < s.st_size; request_count++) {
			uint32_t size;
			memcpy(&size, all + at, 4);
			if (turn) {
				sizes[request_count] = size;
				requests[request_count] = all + at + 4;
			}
			at += 4 + size;
		}
		if (!turn) {
			sizes = calloc(request_count, sizeof *sizes);
			requests = calloc(request_count, sizeof *requests);
		}
	}
}

static double quantile(int kind, double part)
{
	long wanted = ceil(answers[kind] * part), seen = 0;
	for (long i = 0; i < SLOTS; i++)
		if ((seen += slots[kind][i]) >= wanted && seen)
			return fmin((i + 1) * SLOT, most[kind]);
	return 0;
}

static void list(const char *name, const long *values, int count)
{
	printf("\"%s\": [", name);
	for (int i = 0; i < count; i++)
		printf(i ? ", %ld" : "%ld", values[i]);
	printf("], ");
}

int main(int argc, char **argv)
{
	if (argc != 8) {
		fprintf(stderr, "usage: load PORT REQUESTS RATE SECONDS CONNECTIONS PATIENCE DEPTH\n");
		return 2;
	}
	double rate = atof(argv[3]), seconds = atof(argv[4]), patience = atof(argv[6]), due;
	connections = atol(argv[5]);
	depth = atoi(argv[7]) < DEEPEST ? atoi(argv[7]) : DEEPEST;
	place.sin_family = AF_INET;
	place.sin_port = htons(atoi(argv[1]));
	place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	load(argv[2]);
	poller = epoll_create1(0);
	links = calloc(connections, sizeof *links);
	free_links = calloc(connections, sizeof *free_links);
	waiting = malloc(WAITING * sizeof *waiting);
	srand48(1);
	for (long i = 0; i < connections; i++)
		open_link(&links[i]);

	struct rusage before, after;
	getrusage(RUSAGE_SELF, &before);
	begun = due = now();
	until = begun + seconds;
	due -= log(1 - drand48()) / rate;
	for (;;) {
		double t = now();
		while (due <= t && due < until) {
			due_now++;
			if (waiting_count < WAITING)
				waiting[(waiting_first + waiting_count++) % WAITING] = due;
			else
				unsent++;
			due -= log(1 - drand48()) / rate;
		}
		while (waiting_count && (free_count || t - waiting[waiting_first] > patience)) {
			double its = waiting[waiting_first];
			if (t - its > patience) {
				unsent++;
			} else {
				struct link *l = free_links[free_first];
				free_first = (free_first + 1) % connections;
				free_count--;
				l->queued = 0;
				if (l->fd < 0 || l->left || l->under_way >= depth)
					continue;
				begin(l, its);
			}
			waiting_first = (waiting_first + 1) % WAITING;
			waiting_count--;
		}
		if (free_count && waiting_count == 0 && now() - due > late && due < until)
			late = now() - due; /* of this program itself */
		long answered_yet = answers[0] + answers[1] + answers[2] + answers[3] + broken + unsent;
		if (t > until + LAST || (t > until && answered_yet >= due_now))
			break;
		struct epoll_event events[256];
		int wait = due >= until || due - t > 0.002 ? 1 : 0;
		int n = epoll_wait(poller, events, 256, wait);
		for (int i = 0; i < n; i++) {
			struct link *l = events[i].data.ptr;
			if (events[i].events & EPOLLOUT)
				push(l);
			if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
				take(l);
		}
	}
	getrusage(RUSAGE_SELF, &after);
	long no_answer = due_now - (answers[0] + answers[1] + answers[2] + answers[3] + broken + unsent);
	printf("{\"due\": %ld, \"taken\": %ld, \"refused\": %ld, \"limited\": %ld, \"other\": %ld, ", due_now,
	       answers[TAKEN], answers[REFUSED], answers[LIMITED], answers[OTHER]);
	printf("\"without_retry_after\": %ld, \"unsent\": %ld, \"broken\": %ld, \"no_answer\": %ld, ", bare, unsent,
	       broken, no_answer);
	printf("\"rate\": %.1f, \"late\": %.6f, ", within / seconds, late);
	list("taken_in", taken_in, (int)seconds);
	list("refused_in", refused_in, (int)seconds);
	printf("\"p50\": %.6f, \"p99\": %.6f, \"p999\": %.6f, \"max\": %.6f, ", quantile(TAKEN, .5), quantile(TAKEN, .99),
	       quantile(TAKEN, .999), most[TAKEN]);
	printf("\"refused_p99\": %.6f}\n", quantile(REFUSED, .99));
	return 0;
}
