//! Which image runs which Odoo version, and how that image wants to be told (K8S-07).

use std::collections::BTreeMap;

use clap::ValueEnum;

/// Conventions of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Flavour {
    /// `ODOO_…` variables, data at `/bitnami/odoo`.
    Bitnami,
    /// `HOST`, `PORT`, `USER`, `PASSWORD` and arguments, data at `/var/lib/odoo`.
    Official,
}

impl Flavour {
    /// Where the volume is mounted.
    pub fn data_path(self) -> &'static str {
        match self {
            Self::Bitnami => "/bitnami/odoo",
            Self::Official => "/var/lib/odoo",
        }
    }

    /// Does Odoo run with workers, so that the websocket has its own port? One process serves both until a
    /// plan asks for workers.
    pub fn has_workers(self) -> bool {
        match self {
            Self::Bitnami | Self::Official => false,
        }
    }
}

/// An image with its conventions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Reference for the container runtime.
    pub reference: String,
    /// Conventions.
    pub flavour: Flavour,
}

/// A setting that names no image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidCatalogue {
    /// The template would give one image to all versions.
    #[error("ODOO_IMAGE {0:?} must contain {{version}}")]
    NoVersion(String),
    /// An entry is not `version=image`.
    #[error("ODOO_IMAGES entry {0:?} is not version=image")]
    Entry(String),
}

/// Versions and their images.
#[derive(Debug, Clone)]
pub struct Catalogue {
    template: String,
    flavour: Option<Flavour>,
    exceptions: BTreeMap<String, String>,
}

impl Catalogue {
    /// `template` has `{version}` in it; `exceptions` are entries `version=image`, for pinned digests.
    /// Without `flavour` it follows from the image's name.
    pub fn try_new(
        template: &str,
        flavour: Option<Flavour>,
        exceptions: &[String],
    ) -> Result<Self, InvalidCatalogue> {
        if !template.contains("{version}") {
            return Err(InvalidCatalogue::NoVersion(template.to_owned()));
        }
        let exceptions = exceptions
            .iter()
            .map(|entry| {
                entry
                    .split_once('=')
                    .filter(|(version, image)| !version.is_empty() && !image.is_empty())
                    .map(|(version, image)| (version.to_owned(), image.to_owned()))
                    .ok_or_else(|| InvalidCatalogue::Entry(entry.clone()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { template: template.to_owned(), flavour, exceptions })
    }

    /// The image of a version.
    pub fn image(&self, version: &str) -> Image {
        let reference = self
            .exceptions
            .get(version)
            .cloned()
            .unwrap_or_else(|| self.template.replace("{version}", version));
        let named = if reference.contains("bitnami") { Flavour::Bitnami } else { Flavour::Official };
        Image { flavour: self.flavour.unwrap_or(named), reference }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K8S-07
    #[test]
    fn the_template_gives_an_image_for_each_version_and_a_pin_wins() {
        let catalogue =
            Catalogue::try_new("bitnamilegacy/odoo:{version}", None, &["18=odoo:18.0@sha256:abc".into()])
                .unwrap();
        assert_eq!(
            catalogue.image("17"),
            Image { reference: "bitnamilegacy/odoo:17".into(), flavour: Flavour::Bitnami }
        );
        assert_eq!(
            catalogue.image("18"),
            Image { reference: "odoo:18.0@sha256:abc".into(), flavour: Flavour::Official }
        );
        assert!(Catalogue::try_new("odoo", None, &[]).is_err());
        assert!(Catalogue::try_new("odoo:{version}", None, &["18".into()]).is_err());
    }
}
