"""Text that people and machines read: tables, reference pages, dashboards, rules. Pure: records in, text out."""
