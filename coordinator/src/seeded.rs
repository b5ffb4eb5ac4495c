//! Faults that the schedule explorer plants to prove that it would find them. Compiled into tests only.

use std::cell::Cell;

/// A planted fault. The numbers up to 28 are those of the fault-test reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    B1AppendWithoutSequence,
    B2AckBeforeCommit,
    B3AckBeforeConfirmNoSweep,
    B4PublishBeforeCommit,
    B5NoSweep,
    B6ResultWithoutAttemptCheck,
    B7LeasedResultWithoutToken,
    B8EffectBeforeGrant,
    B9SecondGrant,
    B10AckBeforeLease,
    B11AckBeforeResultConfirm,
    B12LeasesNeverExpire,
    B13SubmitCheckThenInsert,
    B14UnknownCommitTakenAsSuccess,
    B15UnknownSubmitRepeatedWithNewId,
    B16AcknowledgedCommitRolledBack,
    B17CacheKeptAfterConflict,
    B18JoinCountedFromMessages,
    B19SweepRaisesTheAttempt,
    B20RetryTimerFiresTwice,
    B21NoTerminalCheck,
    B25MultipleAckCoversUnconfirmed,
    B27LostFenceDropsTheBatch,
    B28SlotNotReleased,
    B29CompensationOldestFirst,
    B30CompensationNotedAtTheRootOnly,
    B31FinallySkippedAfterCancel,
    B32RaceLeavesLosersRunning,
    B33RoundOpenedTwice,
    B34LoopEndsBeforeItsRounds,
    B35ChildIdIsNew,
    B36ParentNotToldAgain,
    B37EventsNotLookedFor,
    B38EarlySignalDropped,
    B39SecondAnswerCounts,
    B40AnswerDecidesNothing,
    B41KillRunsFinally,
    B42LateResultOfAClosedRound,
    B43StopReachesOutside,
    B44RestOfATurnForgotten,
    B45PayloadKeptAfterTheCommit,
    B46HalfADecisionKept,
    B47ChildNotClosed,
    B48ReminderExpires,
    B49OutcomeNotAsked,
    B50EventReceivedTwice,
    B59HandledFailureReported,
    B60TimersFireInAPause,
    B61HeldIsForgotten,
    B62TimersStayAway,
    // What the explorer found in the engine itself; each was mended.
    B51GraceEndsTheCleaningUp,
    B52PauseKeepsItsTimer,
    B53ChildTakesAPlace,
    B54CloseNotRepeated,
    B55ParentNotAsked,
    B56LaidAsideNotAtHand,
    B57RestNotRepeated,
    B58ListInPartsNotAtHand,
}

impl Bug {
    pub(crate) const ALL: [Self; 58] = [
        Self::B1AppendWithoutSequence,
        Self::B2AckBeforeCommit,
        Self::B3AckBeforeConfirmNoSweep,
        Self::B4PublishBeforeCommit,
        Self::B5NoSweep,
        Self::B6ResultWithoutAttemptCheck,
        Self::B7LeasedResultWithoutToken,
        Self::B8EffectBeforeGrant,
        Self::B9SecondGrant,
        Self::B10AckBeforeLease,
        Self::B11AckBeforeResultConfirm,
        Self::B12LeasesNeverExpire,
        Self::B13SubmitCheckThenInsert,
        Self::B14UnknownCommitTakenAsSuccess,
        Self::B15UnknownSubmitRepeatedWithNewId,
        Self::B16AcknowledgedCommitRolledBack,
        Self::B17CacheKeptAfterConflict,
        Self::B18JoinCountedFromMessages,
        Self::B19SweepRaisesTheAttempt,
        Self::B20RetryTimerFiresTwice,
        Self::B21NoTerminalCheck,
        Self::B25MultipleAckCoversUnconfirmed,
        Self::B27LostFenceDropsTheBatch,
        Self::B28SlotNotReleased,
        Self::B29CompensationOldestFirst,
        Self::B30CompensationNotedAtTheRootOnly,
        Self::B31FinallySkippedAfterCancel,
        Self::B32RaceLeavesLosersRunning,
        Self::B33RoundOpenedTwice,
        Self::B34LoopEndsBeforeItsRounds,
        Self::B35ChildIdIsNew,
        Self::B36ParentNotToldAgain,
        Self::B37EventsNotLookedFor,
        Self::B38EarlySignalDropped,
        Self::B39SecondAnswerCounts,
        Self::B40AnswerDecidesNothing,
        Self::B41KillRunsFinally,
        Self::B42LateResultOfAClosedRound,
        Self::B43StopReachesOutside,
        Self::B44RestOfATurnForgotten,
        Self::B45PayloadKeptAfterTheCommit,
        Self::B46HalfADecisionKept,
        Self::B47ChildNotClosed,
        Self::B48ReminderExpires,
        Self::B49OutcomeNotAsked,
        Self::B50EventReceivedTwice,
        Self::B59HandledFailureReported,
        Self::B60TimersFireInAPause,
        Self::B61HeldIsForgotten,
        Self::B62TimersStayAway,
        Self::B51GraceEndsTheCleaningUp,
        Self::B52PauseKeepsItsTimer,
        Self::B53ChildTakesAPlace,
        Self::B54CloseNotRepeated,
        Self::B55ParentNotAsked,
        Self::B56LaidAsideNotAtHand,
        Self::B57RestNotRepeated,
        Self::B58ListInPartsNotAtHand,
    ];
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a fault in this thread, or removes it.
pub(crate) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether a fault is planted in this thread.
pub(crate) fn has(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
