<?xml version="1.0"?>
<!-- SPDX-License-Identifier: LGPL-2.1-or-later -->
<!-- A page of docs/, as cmark-gfm writes it in XML, as a chapter of the reference. Headings of the second and third level
     become sections; a link to another page of docs/ becomes one to its chapter. -->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform" xmlns:md="http://commonmark.org/xml/1.0"
                exclude-result-prefixes="md">
  <xsl:output method="xml" encoding="UTF-8" doctype-public="-//OASIS//DTD DocBook XML V4.3//EN"
              doctype-system="http://www.oasis-open.org/docbook/xml/4.3/docbookx.dtd"/>

  <xsl:param name="page"/>
  <!-- The names of all pages, each with a space before and after. -->
  <xsl:param name="pages"/>

  <xsl:variable name="capitals" select="'ABCDEFGHIJKLMNOPQRSTUVWXYZ '"/>
  <xsl:variable name="small" select="'abcdefghijklmnopqrstuvwxyz-'"/>

  <xsl:key name="content" match="md:document/*[not(self::md:heading)]"
           use="generate-id(preceding-sibling::md:heading[1])"/>
  <xsl:key name="subsections" match="md:heading[@level = 3]"
           use="generate-id(preceding-sibling::md:heading[@level = 2][1])"/>

  <xsl:template match="md:document">
    <chapter id="page-{$page}">
      <title><xsl:apply-templates select="md:heading[@level = 1]/node()"/></title>
      <xsl:apply-templates select="key('content', generate-id(md:heading[@level = 1]))"/>
      <xsl:for-each select="md:heading[@level = 2]">
        <xsl:call-template name="section">
          <xsl:with-param name="subsections" select="key('subsections', generate-id())"/>
        </xsl:call-template>
      </xsl:for-each>
    </chapter>
  </xsl:template>

  <xsl:template name="section">
    <xsl:param name="subsections" select="/.."/>
    <xsl:variable name="words" select="translate(normalize-space(), $capitals, $small)"/>
    <!-- Titles of subsections may come twice. -->
    <xsl:variable name="id">
      <xsl:choose>
        <xsl:when test="@level = 2">
          <xsl:value-of select="translate($words, translate($words, concat($small, '-0123456789'), ''), '')"/>
        </xsl:when>
        <xsl:otherwise><xsl:value-of select="generate-id()"/></xsl:otherwise>
      </xsl:choose>
    </xsl:variable>
    <section id="page-{$page}-{$id}">
      <title><xsl:apply-templates/></title>
      <xsl:apply-templates select="key('content', generate-id())"/>
      <!-- A section must not be empty. -->
      <xsl:if test="not(key('content', generate-id())) and not($subsections)"><para/></xsl:if>
      <xsl:for-each select="$subsections"><xsl:call-template name="section"/></xsl:for-each>
    </section>
  </xsl:template>

  <!-- Blocks -->

  <xsl:template match="md:paragraph"><para><xsl:apply-templates/></para></xsl:template>
  <xsl:template match="md:block_quote"><blockquote><xsl:apply-templates/></blockquote></xsl:template>
  <xsl:template match="md:code_block"><programlisting><xsl:value-of select="."/></programlisting></xsl:template>
  <xsl:template match="md:list"><itemizedlist><xsl:apply-templates/></itemizedlist></xsl:template>
  <xsl:template match="md:list[@type = 'ordered']"><orderedlist><xsl:apply-templates/></orderedlist></xsl:template>
  <xsl:template match="md:item"><listitem><xsl:apply-templates/></listitem></xsl:template>

  <xsl:template match="md:table">
    <informaltable>
      <tgroup cols="{count(md:table_header/md:table_cell)}">
        <thead><xsl:apply-templates select="md:table_header"/></thead>
        <tbody><xsl:apply-templates select="md:table_row"/></tbody>
      </tgroup>
    </informaltable>
  </xsl:template>
  <xsl:template match="md:table_header | md:table_row"><row><xsl:apply-templates/></row></xsl:template>
  <xsl:template match="md:table_cell"><entry><xsl:apply-templates/></entry></xsl:template>

  <!-- Within a line -->

  <xsl:template match="md:text"><xsl:value-of select="."/></xsl:template>
  <xsl:template match="md:code"><literal><xsl:value-of select="."/></literal></xsl:template>
  <xsl:template match="md:emph"><emphasis><xsl:apply-templates/></emphasis></xsl:template>
  <xsl:template match="md:strong"><emphasis role="strong"><xsl:apply-templates/></emphasis></xsl:template>
  <xsl:template match="md:softbreak | md:linebreak"><xsl:text>&#10;</xsl:text></xsl:template>

  <xsl:template match="md:link">
    <xsl:variable name="other" select="substring-before(@destination, '.md')"/>
    <xsl:choose>
      <xsl:when test="$other != '' and contains($pages, concat(' ', $other, ' '))">
        <link linkend="page-{$other}"><xsl:apply-templates/></link>
      </xsl:when>
      <xsl:when test="contains(@destination, '://')">
        <ulink url="{@destination}"><xsl:apply-templates/></ulink>
      </xsl:when>
      <xsl:otherwise><xsl:apply-templates/></xsl:otherwise>
    </xsl:choose>
  </xsl:template>

  <xsl:template match="md:image">
    <inlinemediaobject>
      <imageobject><imagedata fileref="{substring-after(@destination, 'pictures/')}" format="SVG"/></imageobject>
      <textobject><phrase><xsl:apply-templates/></phrase></textobject>
    </inlinemediaobject>
  </xsl:template>

  <!-- Comments, for the tests. -->
  <xsl:template match="md:html_block | md:html_inline | md:thematic_break"/>
  <xsl:template match="text()"/>
</xsl:stylesheet>
