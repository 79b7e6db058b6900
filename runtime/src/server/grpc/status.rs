//! What a call comes to instead of an answer, in gRPC's words.

use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::server::ServeError;

impl From<ServeError> for Status {
    fn from(error: ServeError) -> Self {
        error.log();
        let text = error.to_string();
        let code = match error {
            ServeError::Busy { .. } | ServeError::Occupied => return busy(text),
            ServeError::Invalid { .. } | ServeError::MediaType { .. } => Code::InvalidArgument,
            ServeError::NotFound { .. } => Code::NotFound,
            ServeError::Method | ServeError::Unsupported { .. } => Code::Unimplemented,
            ServeError::Unauthorized => Code::Unauthenticated,
            ServeError::Forbidden { .. } => Code::PermissionDenied,
            ServeError::TooLarge { .. } => Code::ResourceExhausted,
            ServeError::Slow { .. } | ServeError::Deadline { .. } => Code::DeadlineExceeded,
            ServeError::Unavailable { .. } => Code::Unavailable,
            ServeError::Failed(_) | ServeError::NotFinite | ServeError::Internal => Code::Internal,
        };
        Self::new(code, text)
    }
}

/// When to come again is said twice: to programs, and to the retries that clients have built in.
fn busy(text: String) -> Status {
    let again = Duration::from_secs(1);
    let details = ErrorDetails::with_retry_info(Some(again));
    let mut status = Status::with_error_details(Code::ResourceExhausted, text, details);
    let pushback = MetadataValue::from(again.as_millis() as u64);
    status.metadata_mut().insert("grpc-retry-pushback-ms", pushback);
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overloaded_model_says_when_to_come_again() {
        let status = Status::from(ServeError::Busy { model: "m".to_owned() });
        assert_eq!(status.code(), Code::ResourceExhausted);
        let info = status.get_details_retry_info().unwrap();
        assert_eq!(info.retry_delay, Some(Duration::from_secs(1)));
        assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
        let what = "the body is too large".to_owned();
        let status = Status::from(ServeError::TooLarge { what });
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(status.get_details_retry_info().is_none());
    }
}
