//! Orders that the machine has not answered yet.

use std::collections::BTreeMap;

use supervision::RequestId;

use super::waiters::Wait;
use crate::control::protocol::Done;
use crate::control::request::Answer;

/// An order that the machine has not answered yet.
#[derive(Debug)]
pub(in crate::daemon) struct Pending {
    pub(in crate::daemon) answer: Answer<Done>,
    pub(in crate::daemon) message: String,
    /// What must hold before the client is answered; `None`: acceptance is enough.
    pub(in crate::daemon) wait: Option<Wait>,
    /// Who asked for what, for the refusals' sentences.
    pub(in crate::daemon) subject: String,
    /// See [`Done::is_silent`].
    pub(in crate::daemon) is_silent: bool,
}

impl Pending {
    /// One that is answered as soon as it is accepted.
    pub(in crate::daemon) fn accepted(
        answer: Answer<Done>,
        message: String,
        subject: String,
    ) -> Self {
        Self { answer, message, wait: None, subject, is_silent: false }
    }
}

/// All of them, by the numbers that the machine answers with.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Unanswered {
    pending: BTreeMap<RequestId, Pending>,
    last: u64,
}

impl Unanswered {
    /// A number for an order for whose answer no client waits.
    pub(in crate::daemon) fn number(&mut self) -> RequestId {
        self.last += 1;
        RequestId(self.last)
    }

    /// A number for an order whose client waits for the machine's answer.
    pub(in crate::daemon) fn expect(&mut self, pending: Pending) -> RequestId {
        let request = self.number();
        self.pending.insert(request, pending);
        request
    }

    /// The machine has answered. `None`: no client waits for it.
    pub(in crate::daemon) fn take(&mut self, request: RequestId) -> Option<Pending> {
        self.pending.remove(&request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_has_a_number_of_its_own_and_is_answered_once() {
        let mut unanswered = Unanswered::default();
        let by_signal = unanswered.number();
        let (answer, _client) = tokio::sync::oneshot::channel();
        let pending = Pending::accepted(answer, "done".into(), "a".into());
        let of_client = unanswered.expect(pending);
        assert_ne!(by_signal, of_client);
        assert!(unanswered.take(by_signal).is_none());
        assert_eq!(unanswered.take(of_client).expect("it waits").subject, "a");
        assert!(unanswered.take(of_client).is_none());
    }
}
