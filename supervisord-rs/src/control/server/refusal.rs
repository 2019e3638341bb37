//! An answer that says no: the status of HTTP, and a [`Failure`].

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::control::protocol::{Failure, INVALID_CONFIGURATION, UNKNOWN_INCIDENT};

/// What a client gets instead of an answer.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    failure: Failure,
}

impl Refused {
    /// A request that HTTP has a status of its own for.
    pub(super) fn invalid(status: StatusCode, message: String) -> Self {
        Self { status, failure: Failure::new("invalid", message) }
    }
}

/// The statuses are those that [`Failure::error`] promises.
impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        let status = match failure.error.as_str() {
            "unknown-worker" | UNKNOWN_INCIDENT => StatusCode::NOT_FOUND,
            "refused" => StatusCode::FORBIDDEN,
            "not-running" | "failed" | "superseded" => StatusCode::CONFLICT,
            INVALID_CONFIGURATION => StatusCode::UNPROCESSABLE_ENTITY,
            "timed-out" => StatusCode::GATEWAY_TIMEOUT,
            "shutting-down" | "busy" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self { status, failure }
    }
}

impl From<QueryRejection> for Refused {
    fn from(rejection: QueryRejection) -> Self {
        // Without axum's own words for it.
        let text = rejection.body_text();
        let why = text.split_once("query string: ").map_or(text.as_str(), |(_, why)| why);
        Self::invalid(StatusCode::BAD_REQUEST, format!("cannot understand the query: {why}"))
    }
}

impl From<PathRejection> for Refused {
    fn from(rejection: PathRejection) -> Self {
        let text = rejection.body_text();
        let why = text.strip_prefix("Invalid URL: ").unwrap_or(&text);
        Self::invalid(StatusCode::BAD_REQUEST, format!("cannot understand the path: {why}"))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(self.failure)).into_response()
    }
}
