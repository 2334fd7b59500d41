#include "common/address.h"

#include <arpa/inet.h>
#include <stdio.h>

#define MAX_NAME 253 /* as text; 255 octets on the wire (RFC 1035, 2.3.4) */
#define MAX_LABEL 63

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_name_char(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') ||
	       (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

static bool parse_port(struct span text, uint16_t *port)
{
	unsigned int value = 0;
	size_t i;

	if (text.len == 0 || text.len > 5)
		return false;
	for (i = 0; i < text.len; i++) {
		if (!is_digit(text.ptr[i]))
			return false;
		value = value * 10 + (unsigned int)(text.ptr[i] - '0');
	}
	if (value > UINT16_MAX)
		return false;
	*port = (uint16_t)value;
	return true;
}

static bool is_label(struct span label, bool *all_digits)
{
	size_t i;

	if (label.len == 0 || label.len > MAX_LABEL || label.ptr[0] == '-' ||
	    label.ptr[label.len - 1] == '-')
		return false;
	*all_digits = true;
	for (i = 0; i < label.len; i++) {
		if (!is_name_char(label.ptr[i]))
			return false;
		*all_digits = *all_digits && is_digit(label.ptr[i]);
	}
	return true;
}

/*
 * A name, or an IPv4 address: what ends in a label of digits must be four
 * numbers, because resolvers read 127.1 and 2130706433 as addresses too.
 */
static bool is_name_or_ipv4(const char *host)
{
	struct span rest = span_of(host);
	struct in_addr ipv4;
	bool all_digits = false;

	if (rest.len == 0 || rest.len > MAX_NAME)
		return false;
	while (rest.ptr)
		if (!is_label(span_cut(&rest, '.'), &all_digits))
			return false;
	return !all_digits || inet_pton(AF_INET, host, &ipv4) == 1;
}

static bool is_ipv6(const char *host)
{
	struct in6_addr ipv6;

	return inet_pton(AF_INET6, host, &ipv6) == 1;
}

/* "[HOST]" at the front of *rest, taken off it. */
static bool take_bracketed(struct span *rest, char *host, size_t size)
{
	*rest = span_make(rest->ptr + 1, rest->len - 1);
	return span_to_string(span_cut(rest, ']'), host, size) && rest->ptr &&
	       is_ipv6(host);
}

/* Host and port; a missing host, or the port alone, where `listen` says so. */
static bool parse(struct span text, bool listen, struct address *out)
{
	struct span rest = text;
	struct span host;

	if (text.len == 0)
		return false;
	if (text.ptr[0] == '[')
		return take_bracketed(&rest, out->host, sizeof(out->host)) &&
		       rest.len > 0 && rest.ptr[0] == ':' &&
		       parse_port(span_make(rest.ptr + 1, rest.len - 1),
				  &out->port);
	host = span_cut(&rest, ':');
	if (!rest.ptr && listen) {
		out->host[0] = '\0';
		return parse_port(text, &out->port);
	}
	return span_to_string(host, out->host, sizeof(out->host)) &&
	       ((listen && host.len == 0) || is_name_or_ipv4(out->host)) &&
	       parse_port(rest, &out->port);
}

int address_parse_listen(struct span text, struct address *out, struct err *err)
{
	if (!parse(text, true, out))
		return err_set(err, ERR_CONFIG,
			       "a port of 0 to 65535 is allowed, alone or as "
			       ":port, host:port or [IPv6]:port");
	return 0;
}

int address_check_listen(const char *text, struct err *err)
{
	struct address address;

	return address_parse_listen(span_of(text), &address, err);
}

int address_check_listen_if_any(const char *text, struct err *err)
{
	return *text ? address_check_listen(text, err) : 0;
}

int address_parse_peer(struct span text, struct address *out, struct err *err)
{
	if (!parse(text, false, out) || out->port == 0)
		return err_set(err, ERR_CONFIG,
			       "host:port or [IPv6]:port with a port of 1 to "
			       "65535 is allowed");
	return 0;
}

void address_format(const struct address *address, char *buf, size_t size)
{
	bool ipv6 = strchr(address->host, ':') != NULL;

	snprintf(buf, size, "%s%s%s:%u", ipv6 ? "[" : "", address->host,
		 ipv6 ? "]" : "", (unsigned int)address->port);
}

bool address_is_loopback(const struct address *address)
{
	struct in6_addr ipv6;
	struct in_addr ipv4;

	if (inet_pton(AF_INET, address->host, &ipv4) == 1)
		return ntohl(ipv4.s_addr) >> 24 == 127;
	if (inet_pton(AF_INET6, address->host, &ipv6) == 1)
		return IN6_IS_ADDR_LOOPBACK(&ipv6);
	return span_eq_nocase(span_of(address->host), SPAN_LIT("localhost"));
}
