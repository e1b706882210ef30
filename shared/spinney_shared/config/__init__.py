"""Settings: defaults, then a TOML file, then the environment, checked against types before anything is started."""

from .reading import ConfigError, load
from .secret import Secret
from .settings import LogSettings, MongoSettings, MqttSettings, TlsSettings

__all__ = ["ConfigError", "LogSettings", "MongoSettings", "MqttSettings", "Secret", "TlsSettings", "load"]
