//! Why the host name of an instance leads to a page instead of the instance (INS-24, GTW-18): each reason is a
//! port of the Service `instance-off`, so that the page needs to know nothing about instances.

/// A reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Off {
    /// Without a word about it; the Ingresses of former releases lead here.
    Unknown,
    /// Its owner switched it off.
    Stopped,
    /// Billing or an operator suspended it.
    Suspended,
    /// It is terminated, and its data is kept for a while.
    Terminated,
    /// It is on its way up.
    Starting,
    /// An operation needs it off for some minutes.
    Maintenance,
}

impl Off {
    /// In the order of their ports.
    pub const ALL: [Self; 6] =
        [Self::Unknown, Self::Stopped, Self::Suspended, Self::Terminated, Self::Starting, Self::Maintenance];

    /// Port of the Service.
    pub fn port(self) -> u16 {
        match self {
            Self::Unknown => 80,
            Self::Stopped => 81,
            Self::Suspended => 82,
            Self::Terminated => 83,
            Self::Starting => 84,
            Self::Maintenance => 85,
        }
    }

    /// Port of the pods behind it.
    pub fn target_port(self) -> u16 {
        8000 + self.port()
    }
}
