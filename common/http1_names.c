#include "common/http1.h"

const char *http1_method_name(enum http1_method method)
{
	static const char *const names[] = {
		[HTTP1_GET] = "GET",	     [HTTP1_HEAD] = "HEAD",
		[HTTP1_POST] = "POST",	     [HTTP1_PUT] = "PUT",
		[HTTP1_PATCH] = "PATCH",     [HTTP1_DELETE] = "DELETE",
		[HTTP1_OPTIONS] = "OPTIONS",
	};

	CHECK((size_t)method < sizeof(names) / sizeof(names[0]));
	return names[method];
}

/*
 * In order. RFC 9110, 15; 207, 423, 424, 507: RFC 4918; 428, 429, 431, 511: RFC
 * 6585; 460: tus 1.0; 104: resumable uploads of the HTTP working group.
 */
static const struct {
	int status;
	const char *reason;
} reasons[] = {
	{100, "Continue"},
	{101, "Switching Protocols"},
	{102, "Processing"},
	{103, "Early Hints"},
	{104, "Upload Resumption Supported"},
	{200, "OK"},
	{201, "Created"},
	{202, "Accepted"},
	{203, "Non-Authoritative Information"},
	{204, "No Content"},
	{205, "Reset Content"},
	{206, "Partial Content"},
	{207, "Multi-Status"},
	{300, "Multiple Choices"},
	{301, "Moved Permanently"},
	{302, "Found"},
	{303, "See Other"},
	{304, "Not Modified"},
	{305, "Use Proxy"},
	{307, "Temporary Redirect"},
	{308, "Permanent Redirect"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{402, "Payment Required"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{406, "Not Acceptable"},
	{407, "Proxy Authentication Required"},
	{408, "Request Timeout"},
	{409, "Conflict"},
	{410, "Gone"},
	{411, "Length Required"},
	{412, "Precondition Failed"},
	{413, "Content Too Large"},
	{414, "URI Too Long"},
	{415, "Unsupported Media Type"},
	{416, "Range Not Satisfiable"},
	{417, "Expectation Failed"},
	{421, "Misdirected Request"},
	{422, "Unprocessable Content"},
	{423, "Locked"},
	{424, "Failed Dependency"},
	{425, "Too Early"},
	{426, "Upgrade Required"},
	{428, "Precondition Required"},
	{429, "Too Many Requests"},
	{431, "Request Header Fields Too Large"},
	{451, "Unavailable For Legal Reasons"},
	{460, "Checksum Mismatch"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
	{505, "HTTP Version Not Supported"},
	{507, "Insufficient Storage"},
	{508, "Loop Detected"},
	{511, "Network Authentication Required"},
};

const char *http1_reason(int status)
{
	size_t low = 0, high = sizeof(reasons) / sizeof(reasons[0]);

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (reasons[middle].status == status)
			return reasons[middle].reason;
		if (reasons[middle].status < status)
			low = middle + 1;
		else
			high = middle;
	}
	return "";
}
