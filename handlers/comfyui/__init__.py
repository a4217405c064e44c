"""The side of ComfyUI's server that dashboards watch; graphs are not executed."""
