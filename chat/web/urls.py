"""URLs of the chat page."""

from __future__ import annotations

from django.urls import path, re_path

from chat.web import files, views

urlpatterns = [
    path("", views.render_chat_page, name="chat"),
    path("threads/<str:thread_id>", views.render_chat_page, name="chat_thread"),
    re_path(r"^page/theme/(?P<colour>[0-9a-f]{6})\.css$", views.serve_theme, name="theme"),
    path("page/messages", views.send_message, name="page_send"),
    path("page/reading/acknowledge", views.acknowledge, name="page_acknowledge"),
    path("page/readers", views.get_readers, name="page_readers"),
    path("page/assistants", views.list_assistants, name="page_assistants"),
    path("page/threads", views.list_threads, name="page_threads"),
    path("page/threads/<str:thread_id>/messages", views.list_messages, name="page_messages"),
    path("page/threads/<str:thread_id>/rename", views.rename, name="page_rename"),
    path("page/threads/<str:thread_id>/delete", views.delete, name="page_delete"),
    path("page/threads/<str:thread_id>/restore", views.restore, name="page_restore"),
    path("page/files", files.files_view, name="page_files"),
    path("page/files/<str:file_id>", files.remove_file, name="page_file"),
    path("page/files/<str:file_id>/content", files.download_file, name="page_file_content"),
    path("page/files/<str:file_id>/passage", files.get_passage, name="page_passage"),
]
