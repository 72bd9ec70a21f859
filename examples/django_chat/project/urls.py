"""The pages."""

from __future__ import annotations

from django.urls import path

from project import views

urlpatterns = [
    path("", views.page),
    path("messages", views.messages),
    path("ask", views.ask),
    path("new", views.new),
]
