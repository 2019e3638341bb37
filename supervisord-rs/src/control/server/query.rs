//! What stands behind the `?` of a request: each parameter is one that the path has, once, with a
//! value that it takes. A misspelt one that is passed over would look like an answer to it.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;

use super::refusal::Refused;

/// The pairs of a query, as they are written.
pub(super) type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The parameters of a request.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// # Errors
    /// A pair that is none of these, or comes twice.
    pub(super) fn among(known: &[&str], pairs: Pairs) -> Result<Self, Refused> {
        let Query(pairs) = pairs?;
        for (index, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(unknown(name, known));
            }
            if pairs[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(invalid(format!("{name} stands twice in the query: give it once")));
            }
        }
        Ok(Self(pairs))
    }

    /// False where it is not given.
    ///
    /// # Errors
    /// Its value is another.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Refused> {
        Ok(self.value(name, "true or false")?.unwrap_or(false))
    }

    /// # Errors
    /// Its value is no number.
    pub(super) fn number(&self, name: &str) -> Result<Option<usize>, Refused> {
        self.value(name, "a whole number from 0")
    }

    fn value<T: std::str::FromStr>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, Refused> {
        let given = self.0.iter().find(|(known, _)| known == name);
        let read = |(_, value): &(String, String)| {
            let wrong = |_| invalid(format!("{name}={value}: it has to be {expected}"));
            value.parse().map_err(wrong)
        };
        given.map(read).transpose()
    }
}

/// For the paths that have no parameters.
pub(super) async fn none(request: Request, next: Next) -> Result<Response, Refused> {
    Parameters::among(&[], Query::try_from_uri(request.uri()))?;
    Ok(next.run(request).await)
}

fn unknown(name: &str, known: &[&str]) -> Refused {
    let advice = match known {
        [] => "there are none here; what an order needs stands in its body, as JSON".to_owned(),
        known => format!("allowed are {}", known.join(", ")),
    };
    invalid(format!("unknown parameter `{name}`: {advice}"))
}

fn invalid(message: String) -> Refused {
    Refused::invalid(StatusCode::BAD_REQUEST, message)
}
