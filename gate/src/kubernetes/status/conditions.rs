//! Conditions by the API conventions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// A condition: its type, whether it holds (unknown when `None`), a reason in one word, and the story.
pub(super) struct Says<'a>(pub(super) &'a str, pub(super) Option<bool>, pub(super) &'a str, pub(super) String);

/// The conditions as they are now. Times change only with what they are the time of.
pub(super) fn merged(former: &[Condition], now: &[Says<'_>], generation: Option<i64>, at: &Time) -> Vec<Condition> {
    let merged = now.iter().map(|Says(type_, holds, reason, message)| {
        let status = match holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let same = former.iter().find(|known| known.type_ == *type_ && known.status == status);
        Condition {
            type_: (*type_).to_owned(),
            status: status.to_owned(),
            reason: (*reason).to_owned(),
            message: message.clone(),
            observed_generation: generation,
            last_transition_time: same.map_or_else(|| at.clone(), |known| known.last_transition_time.clone()),
        }
    });
    merged.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_changes_with_the_status_only() {
        let at = |second| Time(jiff::Timestamp::from_second(second).expect("it is a time"));
        let says = |holds, reason| [Says("Ready", holds, reason, String::new())];
        let first = merged(&[], &says(Some(true), "Watching"), Some(1), &at(1));
        let second = merged(&first, &says(Some(true), "Idle"), Some(2), &at(2));
        assert_eq!((second[0].last_transition_time.clone(), second[0].reason.as_str()), (at(1), "Idle"));
        let third = merged(&second, &says(None, "Idle"), Some(2), &at(3));
        assert_eq!((third[0].last_transition_time.clone(), third[0].status.as_str()), (at(3), "Unknown"));
    }
}
