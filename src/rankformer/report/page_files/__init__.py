"""Template, style and script of the report; the script is built in ``web/report``."""
