//! The one place that writes identifiers and literals into SQL (SEC-05). Statements such as `CREATE ROLE`
//! take no bound values; everything else binds.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Executor, Postgres};

/// A statement under construction. Its fixed parts are literals of this program; everything else is quoted.
#[derive(Debug, Clone)]
pub(crate) struct Statement(String);

impl Statement {
    /// Begins with a fixed part.
    pub(crate) fn new(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    /// A fixed part.
    pub(crate) fn sql(mut self, text: &'static str) -> Self {
        self.0.push_str(text);
        self
    }

    /// Another statement behind this one.
    pub(crate) fn then(mut self, next: &Self) -> Self {
        self.0.push_str(&next.0);
        self
    }

    /// A quoted identifier.
    pub(crate) fn identifier(mut self, name: &str) -> Self {
        self.quoted(name, '"');
        self
    }

    /// A quoted literal. A backslash has no meaning in it (`standard_conforming_strings`).
    pub(crate) fn literal(mut self, value: &str) -> Self {
        self.quoted(value, '\'');
        self
    }

    fn quoted(&mut self, text: &str, quote: char) {
        self.0.push(quote);
        for c in text.chars().filter(|c| *c != '\0') {
            if c == quote {
                self.0.push(quote);
            }
            self.0.push(c);
        }
        self.0.push(quote);
    }

    /// Its text, for the one call that takes nothing else (`COPY`).
    pub(crate) fn into_text(self) -> String {
        self.0
    }

    /// Runs it.
    pub(crate) async fn execute<'e, E: Executor<'e, Database = Postgres>>(
        self,
        executor: E,
    ) -> sqlx::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(self.0)).execute(executor).await.map(drop)
    }

    /// Runs it for its one row.
    pub(crate) async fn fetch_one<'e, E: Executor<'e, Database = Postgres>>(
        self,
        executor: E,
    ) -> sqlx::Result<PgRow> {
        sqlx::query(AssertSqlSafe(self.0)).fetch_one(executor).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-05
    #[test]
    fn nothing_gets_out_of_its_quotes() {
        for (bad, identifier, literal) in [
            (
                "a\"; DROP DATABASE postgres; --",
                "\"a\"\"; DROP DATABASE postgres; --\"",
                "'a\"; DROP DATABASE postgres; --'",
            ),
            ("a'; DROP ROLE x; --", "\"a'; DROP ROLE x; --\"", "'a''; DROP ROLE x; --'"),
            ("nul\0", "\"nul\"", "'nul'"),
            ("\\'", "\"\\'\"", "'\\'''"),
        ] {
            assert_eq!(Statement::new("").identifier(bad).0, identifier);
            assert_eq!(Statement::new("").literal(bad).0, literal);
        }
    }
}
