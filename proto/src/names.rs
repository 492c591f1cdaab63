//! `[PROJECT/]SERVICE[.SLOT]`: how people name things on the command line.

use std::str::FromStr;

use crate::id::{IdError, ProjectName, ServiceName, Slot};

/// A service or one of its slots, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedName {
    /// Before the slash, if there was one.
    pub project: Option<ProjectName>,
    /// The service.
    pub service: ServiceName,
    /// After the dot, if there was one.
    pub slot: Option<Slot>,
}

impl FromStr for TypedName {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let (project, rest) = match text.split_once('/') {
            Some((project, rest)) => (Some(project.parse()?), rest),
            None => (None, text),
        };
        let (service, slot) = match rest.rsplit_once('.') {
            Some((service, slot)) => {
                let bad = |_| IdError::NotANumber { kind: "slot number", text: slot.to_owned() };
                (service, Some(Slot(slot.parse().map_err(bad)?)))
            }
            None => (rest, None),
        };
        Ok(TypedName { project, service: service.parse()?, slot })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_parse() {
        let name: TypedName = "shop/web.2".parse().expect("full form");
        assert_eq!(name.project.expect("has a project").as_str(), "shop");
        assert_eq!(name.slot, Some(Slot(2)));
        assert!("web".parse::<TypedName>().expect("short form").project.is_none());
        assert!("web.x".parse::<TypedName>().is_err());
    }
}
