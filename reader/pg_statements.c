#include "reader/pg_statements.h"

#define PG_STATEMENT_TEXT(name, n_params, sql) { #name, sql, n_params },
const struct pg_statement_text pg_statements[PG_N_STATEMENTS] = {
	PG_STATEMENTS(PG_STATEMENT_TEXT)
};
#undef PG_STATEMENT_TEXT
