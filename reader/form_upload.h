/*
 * form_upload.h - POST /upload: a form's files, all of them or none
 *
 * Each file part becomes an object of a new identifier, staged while the form
 * arrives and committed only when the form is complete; a store that fails one
 * of the commits gets the others taken back. The other fields of the form,
 * wherever they stand, are the details of all its objects. So a reader alone is a
 * usable upload server. The answer has the envelope
 * {"status","message","data":{"duration",…}} that such clients know, also for
 * errors.
 */
#ifndef READER_FORM_UPLOAD_H
#define READER_FORM_UPLOAD_H

#include "reader/thread.h"

/* Answer POST /upload. */
void form_upload(struct reader_thread *thread, struct http_exchange *x);

#endif
