//! Paging, equal on all lists (GTW-14).

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::LINK;
use serde::Serialize;
use utoipa::IntoParams;

use crate::extract::{Page, Query};

/// The query of every list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it documents the query; `Query::page` reads it")]
pub struct PageParams {
    /// Number of the page.
    #[param(minimum = 1, default = 1)]
    page: Option<u32>,
    /// Rows of a page.
    #[param(minimum = 1, maximum = 100, default = 20)]
    page_size: Option<u32>,
}

/// A list answer with its `Link` header.
pub fn listed<T: Serialize>(query: &Query, page: Page, total: u64, body: T) -> Response {
    let mut response = Json(body).into_response();
    if let Ok(value) = HeaderValue::from_str(&links(query, page, total)) {
        response.headers_mut().insert(LINK, value);
    }
    response
}

fn links(query: &Query, page: Page, total: u64) -> String {
    let last = total.div_ceil(u64::from(page.size)).max(1);
    let now = u64::from(page.number);
    let mut links = vec![(1, "first"), (last, "last")];
    if now > 1 {
        links.push((now - 1, "prev"));
    }
    if now < last {
        links.push((now + 1, "next"));
    }
    let links = links
        .into_iter()
        .map(|(number, name)| format!("<{}>; rel=\"{name}\"", query.address_of(number, page.size)));
    links.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::FromRequestParts as _;

    /// GTW-14
    #[tokio::test]
    async fn links_keep_the_filters() {
        let uri = "/instance/instances?status=running&page=2&page_size=10&q=a%20b";
        let mut parts = http::Request::builder().uri(uri).body(()).unwrap().into_parts().0;
        let query = Query::from_request_parts(&mut parts, &()).await.unwrap();
        let page = query.page().unwrap();
        assert_eq!(page, Page { number: 2, size: 10 });
        let links = links(&query, page, 25);
        assert!(
            links.contains("</instance/instances?status=running&q=a+b&page=3&page_size=10>; rel=\"next\"")
        );
        assert!(links.contains("page=1&page_size=10>; rel=\"prev\""));
        assert!(links.contains("page=3&page_size=10>; rel=\"last\""));
    }

    /// GTW-14
    #[tokio::test]
    async fn a_page_out_of_range_is_refused() {
        for bad in ["page=0", "page_size=101", "page_size=0", "page=x"] {
            let uri = format!("/x?{bad}");
            let mut parts = http::Request::builder().uri(uri).body(()).unwrap().into_parts().0;
            let query = Query::from_request_parts(&mut parts, &()).await.unwrap();
            assert_eq!(query.page().unwrap_err().status().as_u16(), 422, "{bad}");
        }
    }
}
