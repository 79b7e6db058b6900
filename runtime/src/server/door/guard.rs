//! What every request must pass, and what every answer carries.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Door;
use crate::server::app::App;
use crate::server::{ServeError, web};

/// Probes come without a token, and learn nothing but yes and no.
const PROBES: &str = "/v2/health/";

/// What tells a browser to make as little as possible of an answer.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Marks the request of somebody who may see everything, not only what probes may.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Known;

/// Lets through who may come in.
pub(in crate::server) async fn guard(
    State((door, app)): State<(Arc<Door>, Arc<App>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_probe = is_open(request.uri().path());
    if is_known(&door, request.headers()) {
        request.extensions_mut().insert(Known);
    }
    let mut response = match admit(&door, &request, is_probe) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        // A page says better what it needs.
        headers.entry(name).or_insert(value);
    }
    if app.is_ending() {
        // The next request goes to a server that stays.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether a request may come in; a probe needs no token.
pub(in crate::server) fn admit(
    door: &Door,
    request: &Request,
    is_probe: bool,
) -> Result<(), ServeError> {
    let headers = request.headers();
    let host = request.uri().authority().map(Authority::as_str);
    let host = host.or_else(|| headers.get(header::HOST).and_then(|host| host.to_str().ok()));
    // A page from elsewhere must not reach a server that trusts its own machine: neither by a name
    // that it points at this address, nor by a form that it sends here.
    if door.is_local && !host.is_none_or(is_local_name) {
        return Err(ServeError::Forbidden { what: "the request is for another host".to_owned() });
    }
    if is_from_elsewhere(headers, host) {
        let what = "requests from pages of other origins are not answered".to_owned();
        return Err(ServeError::Forbidden { what });
    }
    if is_probe || is_known(door, headers) { Ok(()) } else { Err(ServeError::Unauthorized) }
}

/// Whether a request has a token, where one is asked for.
fn is_known(door: &Door, headers: &HeaderMap) -> bool {
    let Some(tokens) = &door.tokens else { return true };
    bearer(headers).is_some_and(|token| tokens.has(token))
}

/// Whether there is nothing to learn at a path; the page's files are the same everywhere.
fn is_open(path: &str) -> bool {
    path.starts_with(PROBES) || web::has(path)
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// A name of this machine, or an address, with or without a port.
fn is_local_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

fn is_from_elsewhere(headers: &HeaderMap, host: Option<&str>) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match (origin, host) {
        (Some((_, origin)), Some(host)) => !origin.eq_ignore_ascii_case(host),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_known() {
        for host in
            ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:8080", "[::1]", "10.1.2.3"]
        {
            assert!(is_local_name(host), "{host}");
        }
        for host in ["example.org", "localhost.example.org:8080", "", "[x]"] {
            assert!(!is_local_name(host), "{host}");
        }
    }

    #[test]
    fn pages_of_other_origins_are_told_apart() {
        let from = |origin: &'static str| {
            HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static(origin))])
        };
        let here = Some("127.0.0.1:8080");
        assert!(!is_from_elsewhere(&HeaderMap::new(), here));
        assert!(!is_from_elsewhere(&from("http://127.0.0.1:8080"), here));
        for other in ["http://127.0.0.1:8081", "https://example.org", "null"] {
            assert!(is_from_elsewhere(&from(other), here), "{other}");
        }
    }

    #[test]
    fn a_bearer_is_read() {
        let with = |value: &'static str| {
            HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))])
        };
        assert_eq!(bearer(&with("Bearer abc")), Some(&b"abc"[..]));
        assert_eq!(bearer(&with("bearer  abc ")), Some(&b"abc"[..]));
        for other in ["Basic abc", "Bearer", ""] {
            assert_eq!(bearer(&with(other)), None, "{other}");
        }
    }
}
