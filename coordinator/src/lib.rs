//! Decides: the pure engine and the inbox, timers and sweeps around it.
