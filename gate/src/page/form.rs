//! What was typed into a form.

use axum::body::Bytes;
use axum::extract::{FromRequest, Query, Request};
use axum::http::{StatusCode, Uri};
use serde::de::DeserializeOwned;

use super::Trouble;
use crate::api::problem::failure;

/// A form's fields. They come as a query would, so they are read as one.
pub(super) struct Form<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = Trouble;

    async fn from_request(request: Request, state: &S) -> Result<Self, Trouble> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| failure(rejection.status(), rejection.body_text()))?;
        let wrong = |why: String| Trouble::from(failure(StatusCode::BAD_REQUEST, format!("the form: {why}")));
        let text = std::str::from_utf8(&bytes).map_err(|error| wrong(error.to_string()))?;
        let uri =
            Uri::builder().path_and_query(format!("/?{text}")).build().map_err(|error| wrong(error.to_string()))?;
        Query::try_from_uri(&uri).map(|Query(fields)| Self(fields)).map_err(|rejection| wrong(rejection.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Typed {
        why: String,
        #[serde(default)]
        by: String,
    }

    async fn read(body: &'static str) -> Result<Typed, StatusCode> {
        let request = Request::post("/").body(Body::from(body)).expect("it is a request");
        match Form::from_request(request, &()).await {
            Ok(Form(typed)) => Ok(typed),
            Err(Trouble(failure)) => Err(failure.status()),
        }
    }

    #[tokio::test]
    async fn what_browsers_send_is_read_as_it_was_typed() {
        let typed = read("why=wrong+prices+%26+%3Cb%3E+%C3%BC&by=ada").await;
        assert_eq!(typed, Ok(Typed { why: "wrong prices & <b> ü".to_owned(), by: "ada".to_owned() }));
        assert_eq!(read("by=ada").await, Err(StatusCode::BAD_REQUEST));
        assert_eq!(read("why=\u{1}").await, Err(StatusCode::BAD_REQUEST));
    }
}
