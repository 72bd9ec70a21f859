"""The tables as they were in the first release."""

from __future__ import annotations

from django.db import migrations, models

__all__ = ["Migration"]


class Migration(migrations.Migration):
    """Conversations, and who has one at the moment."""

    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            name="Conversation",
            fields=[
                (
                    "digest",
                    models.CharField(editable=False, max_length=64, primary_key=True, serialize=False),
                ),
                ("key", models.TextField()),
                ("version", models.PositiveBigIntegerField(help_text="Another one after each save.")),
                ("data", models.TextField(help_text="JSON, as Chat.to_dict() gives it.")),
                ("updated", models.DateTimeField()),
            ],
            options={"ordering": ("-updated",)},
        ),
        migrations.CreateModel(
            name="Lease",
            fields=[
                (
                    "digest",
                    models.CharField(editable=False, max_length=64, primary_key=True, serialize=False),
                ),
                ("token", models.CharField(max_length=32)),
                ("until", models.DateTimeField()),
            ],
        ),
    )
