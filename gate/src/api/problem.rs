//! What is said when a call is wrong: always JSON, always which field.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::types::Problem;
use crate::effect::Refusal;

/// A status and a problem.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    problem: Problem,
}

impl Failure {
    /// The status.
    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// Coming again may help.
    pub(crate) fn is_passing(&self) -> bool {
        self.status.is_server_error()
    }

    /// What is wrong, for people.
    pub(crate) fn text(&self) -> &str {
        &self.problem.error
    }
}

/// Something is wrong, and not with a field.
pub(crate) fn failure(status: StatusCode, error: impl Into<String>) -> Failure {
    Failure { status, problem: Problem { error: error.into(), field: None } }
}

/// A field is wrong.
pub(crate) fn wrong_field(field: impl Into<String>, error: impl Into<String>) -> Failure {
    let problem = Problem { error: error.into(), field: Some(field.into()) };
    Failure { status: StatusCode::BAD_REQUEST, problem }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::Unknown(_) => failure(StatusCode::NOT_FOUND, text),
            Refusal::Conflict(_) => failure(StatusCode::CONFLICT, text),
            Refusal::Field { field, .. } => wrong_field(field, text),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self.problem)).into_response()
    }
}

/// A JSON body, whatever its content type says.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(error) => failure(error.status(), error.body_text()),
            other => failure(other.status(), other.body_text()),
        })?;
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|error| failure(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")))?;
        match T::deserialize(&value) {
            Ok(body) => Ok(Self(body)),
            Err(error) => Err(named::<T>(&value, &error.to_string())),
        }
    }
}

/// Finds which field is at fault: the one whose absence makes for another error.
fn named<T: DeserializeOwned>(value: &Value, error: &str) -> Failure {
    let Value::Object(fields) = value else {
        return failure(StatusCode::BAD_REQUEST, "the body is JSON, but not an object");
    };
    let missing = error.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    if let Some(field) = missing {
        return wrong_field(field, error);
    }
    for field in fields.keys() {
        let mut rest = fields.clone();
        rest.remove(field);
        if T::deserialize(Value::Object(rest)).err().is_none_or(|other| other.to_string() != error) {
            return wrong_field(field, format!("{field}: {error}"));
        }
    }
    failure(StatusCode::BAD_REQUEST, error)
}
