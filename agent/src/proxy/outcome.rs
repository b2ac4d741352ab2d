//! How a request ended, by whose fault.
//!
//! gRPC says it in `grpc-status`, in the trailers or, when there is nothing else to say, in the head. Its codes are sorted as
//! their HTTP counterparts: what the caller did wrong (3, 5, 6, 7, 9, 10, 11, 16, and 8, which is 429) is not the
//! application's fault; not knowing, being late, broken, away or without the method (2, 4, 12, 13, 14, 15) is, and so is an
//! answer without any status. CANCELLED (1) is the client leaving.

use blueback_report::Outcome;
use http::{HeaderMap, StatusCode};

/// nginx's "client closed request".
const CLIENT_CLOSED: u16 = 499;

/// Of an HTTP status.
pub(super) fn of_status(status: StatusCode) -> Outcome {
    match status.as_u16() {
        CLIENT_CLOSED => Outcome::ClientGone,
        400..=498 => Outcome::ClientError,
        500.. => Outcome::ServerError,
        _ => Outcome::Ok,
    }
}

/// Of the `grpc-status` in these headers or trailers, if there is one.
pub(super) fn of_grpc(headers: &HeaderMap) -> Option<Outcome> {
    Some(match headers.get("grpc-status")?.as_bytes() {
        b"0" => Outcome::Ok,
        b"1" => Outcome::ClientGone,
        b"3" | b"5" | b"6" | b"7" | b"8" | b"9" | b"10" | b"11" | b"16" => Outcome::ClientError,
        _ => Outcome::ServerError,
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn each_status_is_somebodys_fault() {
        for (status, outcome) in [
            (101, Outcome::Ok),
            (200, Outcome::Ok),
            (304, Outcome::Ok),
            (400, Outcome::ClientError),
            (429, Outcome::ClientError),
            (499, Outcome::ClientGone),
            (500, Outcome::ServerError),
            (503, Outcome::ServerError),
            (599, Outcome::ServerError),
        ] {
            assert_eq!(of_status(StatusCode::from_u16(status).expect("it is a status")), outcome, "{status}");
        }
    }

    #[test]
    fn each_grpc_status_is_somebodys_fault() {
        let seen: Vec<_> = (0..18_u16)
            .map(|code| {
                of_grpc(&HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from(code))]))
            })
            .collect();
        let client = [3, 5, 6, 7, 8, 9, 10, 11, 16];
        for (code, outcome) in seen.into_iter().enumerate() {
            let expected = match code {
                0 => Outcome::Ok,
                1 => Outcome::ClientGone,
                code if client.contains(&code) => Outcome::ClientError,
                _ => Outcome::ServerError,
            };
            assert_eq!(outcome, Some(expected), "{code}");
        }
        assert_eq!(of_grpc(&HeaderMap::new()), None);
    }
}
